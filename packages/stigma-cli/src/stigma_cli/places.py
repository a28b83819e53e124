"""Places of what is in a parsed document: line, column and JSON pointer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ruamel.yaml.comments import CommentedMap, CommentedSeq


class Place(NamedTuple):
    """A place in a file; line and column count from 1."""

    line: int
    column: int
    pointer: str


START = Place(1, 1, "")


class Places:
    """Finds the places of keys and items of one document of `parse_documents`."""

    def __init__(self, document: Any) -> None:
        self._pointers: dict[int, str] = {}
        left = [(document, "")]
        while left:
            value, pointer = left.pop()
            if id(value) not in self._pointers:  # else an anchor
                children = list(_children(value))
                if children:
                    self._pointers[id(value)] = pointer
                left += [(child, pointer_to(pointer, key)) for key, child in reversed(children)]

    def of(self, values: Any, key: Any) -> Place:
        """Return the place of a key or an item; of one that is absent, where its parent begins."""
        pointer = pointer_to(self._pointers.get(id(values), ""), key)
        line, column = place_of_child(values, key) or (values.lc.line + 1, values.lc.col + 1)
        return Place(line, column, pointer)


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, CommentedMap):
        yield from value.items()
    elif isinstance(value, CommentedSeq):
        yield from enumerate(value)


def place_of_child(values: CommentedMap | CommentedSeq, key: Any) -> tuple[int, int] | None:
    """Return line and column, from 1, of a key of a map or an item of a list.

    None: the map has no such key of its own, but perhaps one that is merged into it.
    """
    if isinstance(values, CommentedMap):
        if key not in (values.lc.data or ()):
            return None
        line, column = values.lc.key(key)
    else:
        line, column = values.lc.item(key)
    return int(line) + 1, int(column) + 1


def pointer_to(pointer: str, key: Any) -> str:
    """Return the JSON pointer of a key below another pointer."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
