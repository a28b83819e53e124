"""Lists and maps of a document while they are read, and places in its text."""

from __future__ import annotations

from typing import NamedTuple

from zigflow_worker.expressions import JSON
from zigflow_worker.loading.errors import UNREADABLE, Unreadable
from zigflow_worker.loading.places import Place


class Extent(NamedTuple):
    """The share of a value in the limits, wherever it stands."""

    nodes: int
    blocks: int
    maps: int


SCALAR = Extent(1, 0, 0)
MERGED = Unreadable()
"""The key of a map that is merged, as other readers of YAML do it, where reading goes on."""


class Frame:
    """A list or map that is being read."""

    __slots__ = ("anchor", "blocks", "data", "key", "maps", "nodes", "place")

    def __init__(self, data: dict[str, JSON] | list[JSON], anchor: str | None, place: Place):
        self.data = data
        self.anchor = anchor
        self.place = place
        self.key: str | None = None
        self.nodes, self.blocks, self.maps = 1, 0, 0

    @property
    def token(self) -> str | None:
        """The token of a JSON pointer to the value that is being read, where it has one."""
        if isinstance(self.data, list):
            return str(len(self.data))
        if self.key is None or self.key is UNREADABLE or self.key is MERGED:
            return None
        return self.key.replace("~", "~0").replace("/", "~1")

    def take(self, value: JSON) -> None:
        """Take the value of the key; that of a wrong key is lost."""
        if self.key is MERGED and isinstance(value, dict):
            self.data = {**value, **self.data}  # type: ignore[dict-item]
        elif self.key is not UNREADABLE and self.key is not MERGED:
            self.data[self.key] = value  # type: ignore[call-overload,index]
        self.key = None
