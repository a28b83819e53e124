"""Keys that are meant, but misspelt."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_SIMILARITY, _SIMILARITY_OF_SHORT = 0.6, 0.5
_SHORT = 3
"""Letters of a key up to which one that is wrong is much of it."""
_MOST_UNKNOWN = 100


def is_misspelt(key: str, unknown: Sequence[str]) -> bool:
    """Return whether one of the unknown keys of a map is a misspelling of a key."""
    if not unknown:
        return False
    cutoff = _SIMILARITY if len(key) > _SHORT else _SIMILARITY_OF_SHORT
    lower = [each.lower() for each in unknown[:_MOST_UNKNOWN]]
    return bool(get_close_matches(key.lower(), lower, n=1, cutoff=cutoff))
