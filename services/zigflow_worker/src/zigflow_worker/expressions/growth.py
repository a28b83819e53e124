"""Whether the result of an expression may be far larger than the data it is made of."""

from __future__ import annotations

_FEW = 4
_PROJECTIONS = frozenset(
    {
        *("map", "select", "length", "keys", "has", "not", "type", "tostring", "tonumber", "empty"),
        *("test", "startswith", "endswith", "ascii_downcase", "ascii_upcase", "floor", "round"),
        *("sort_by", "group_by", "unique_by", "min_by", "max_by", "sort", "unique", "add", "join"),
        *("first", "last", "to_entries", "from_entries", "with_entries", "split", "reverse"),
    }
)
"""Builtins that yield no more than is in their input."""
_LOOPING = frozenset(("until", "while", "repeat", "recurse", "walk"))


class Growth:
    """Calls of one expression that may put values together of shared parts, again and again."""

    __slots__ = ("builders", "collects", "loops", "reads")

    def __init__(self) -> None:
        self.loops = self.collects = self.reads = False
        self.builders = 0

    def calls(self, name: str) -> None:
        """Note the call of a builtin."""
        self.reads = self.reads or name not in _PROJECTIONS
        self.loops = self.loops or name in _LOOPING
        self.collects = self.collects or name == "map"
        self.builders += name == "map"

    @property
    def is_possible(self) -> bool:
        """Whether values may be put together of shared parts again and again."""
        return self.loops or self.builders > _FEW or (self.collects and self.reads)
