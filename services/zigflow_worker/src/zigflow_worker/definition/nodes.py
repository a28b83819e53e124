"""Parts of a document, each with its JSON pointer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from zigflow_worker.durations import whole_number
from zigflow_worker.expressions import JSON


class NodeError(Exception):
    """One part of the document is wrong."""

    def __init__(self, message: str, pointer: str) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


class LooseNodeError(NodeError):
    """One part of the document is wrong, which 0.1.0 read over."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the document and its JSON pointer. Every reader raises NodeError."""

    value: JSON
    pointer: str

    def child(self, key: str | int) -> Node:
        """Return an item of this map or list, known to be there."""
        token = str(key).replace("~", "~0").replace("/", "~1")
        return Node(self.value[key], f"{self.pointer}/{token}")  # type: ignore[index]

    def error(self, message: str) -> NodeError:
        """Return the error to raise for this node."""
        return NodeError(message, self.pointer)

    def text(self) -> str:
        """Return a string that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(f"expected a string, not {_type_phrase(self.value)}")
        return self.value

    def integer(self) -> int:
        """Return an integer."""
        number = whole_number(self.value)
        if number is None:
            raise self.error(f"expected an integer, not {_type_phrase(self.value)}")
        return number

    def boolean(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.error(f"expected true or false, not {_type_phrase(self.value)}")
        return self.value

    def mapping(self) -> dict[str, Node]:
        """Return the items of a map with any keys."""
        if not isinstance(self.value, dict):
            raise self.error(f"expected a map, not {_type_phrase(self.value)}")
        return {key: self.child(key) for key in self.value}

    def fields(self, *allowed: str, required: Iterable[str] = ()) -> dict[str, Node]:
        """Return the items of a map that may have only the keys named."""
        fields = self.mapping()
        for key, node in fields.items():
            if key not in allowed:
                raise node.error(f"unknown key '{key}'; allowed here: {', '.join(sorted(allowed))}")
        for key in required:
            if key not in fields:
                raise self.error(f"'{key}' is required")
        return fields

    def items(self) -> list[Node]:
        """Return the items of a list."""
        if not isinstance(self.value, list):
            raise self.error(f"expected a list, not {_type_phrase(self.value)}")
        return [self.child(index) for index in range(len(self.value))]

    def named_items(self) -> Iterator[tuple[str, Node]]:
        """Yield name and value of each item of a list of maps with a single key."""
        for item in self.items():
            fields = item.mapping()
            if len(fields) != 1:
                raise item.error(f"expected a map with one key, its name, not {len(fields)} keys")
            yield from fields.items()


def _type_phrase(value: JSON) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return json.dumps(value)
        case "":
            return "an empty string"
        case str():
            return "a string"
        case list():
            return "a list"
    return "a map"
