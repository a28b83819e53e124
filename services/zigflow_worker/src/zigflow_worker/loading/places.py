"""A document as it is read: its data, and where each part of it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from zigflow_worker.expressions import JSON
from zigflow_worker.loading.scalar_places import ScalarPlaces


@dataclass(slots=True)
class Place:
    """Line and column of a value, in a map of its key, and of those in it.

    `scalar` is the offset of a scalar itself; None: it is none, or stands elsewhere.
    """

    line: int
    column: int
    scalar: int | None = None
    children: dict[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document's `data`, and where each part of it is written; `weight` is that of reading it.

    Values repeated by an alias are the same object: treat `data` as read-only.
    """

    data: JSON
    weight: int
    _root: Place
    _scalars: ScalarPlaces

    def position(self, pointer: str) -> tuple[int, int]:
        """Return line and column, from 1, of a JSON pointer or of its nearest known parent."""
        place, _ = self._find(pointer)
        return place.line, place.column

    def position_in(self, pointer: str, text: str, index: int) -> tuple[int, int] | None:
        """Return line and column, from 1, of a character of a text; None: that is not sure."""
        place, is_it = self._find(pointer)
        if not is_it or place.scalar is None:
            return None
        return self._scalars.find(place.scalar, text, index)

    def _find(self, pointer: str) -> tuple[Place, bool]:
        """Return the place of a JSON pointer, or of its nearest known parent; True: its own."""
        place = self._root
        for token in pointer.split("/")[1:]:
            child = place.children.get(token.replace("~1", "/").replace("~0", "~"))
            if child is None:
                return place, False
            place = child
        return place, True
