"""A document as it is read: its data, and where each part of it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from zigflow_worker.expressions import JSON


@dataclass(slots=True)
class Place:
    """Line and column of a value, and of those in it."""

    line: int
    column: int
    children: dict[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document's `data`, and where each part of it is written; `weight` is that of reading it.

    Values repeated by an alias are the same object: treat `data` as read-only.
    """

    data: JSON
    weight: int
    _root: Place

    def position(self, pointer: str) -> tuple[int, int]:
        """Return line and column, from 1, of a JSON pointer or of its nearest known parent."""
        place = self._root
        for token in pointer.split("/")[1:]:
            child = place.children.get(token.replace("~1", "/").replace("~0", "~"))
            if child is None:
                break
            place = child
        return place.line, place.column
