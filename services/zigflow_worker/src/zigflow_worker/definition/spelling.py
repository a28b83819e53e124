"""Keys that are meant, but misspelt."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_SIMILARITY = 0.6
_MOST_UNKNOWN = 100


def is_misspelt(key: str, unknown: Sequence[str]) -> bool:
    """Return whether one of the unknown keys of a map is a misspelling of a key."""
    if not unknown:
        return False
    lower = [each.lower() for each in unknown[:_MOST_UNKNOWN]]
    return bool(get_close_matches(key.lower(), lower, n=1, cutoff=_SIMILARITY))
