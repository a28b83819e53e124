"""Names that globs stand for: `*`, `?` and `[...]`, upper and lower case being different."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches_any(name: str, globs: Iterable[str]) -> bool:
    """Return whether one of the globs is for a name; without globs, False."""
    return any(fnmatchcase(name, glob) for glob in globs)
