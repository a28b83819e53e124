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
        if isinstance(values, CommentedMap) and key in (values.lc.data or ()):
            line, column = values.lc.key(key)
        elif isinstance(values, CommentedSeq):
            line, column = values.lc.item(key)
        else:
            line, column = values.lc.line, values.lc.col
        return Place(int(line) + 1, int(column) + 1, pointer)


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, CommentedMap):
        yield from value.items()
    elif isinstance(value, CommentedSeq):
        yield from enumerate(value)


def pointer_to(pointer: str, key: Any) -> str:
    """Return the JSON pointer of a key below another pointer."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
