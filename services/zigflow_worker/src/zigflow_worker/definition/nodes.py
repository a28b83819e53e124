"""Parts of a document, each with its JSON pointer."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import override

from stigma.contracts.spelling import did_you_mean, is_misspelt
from zigflow_worker.durations import whole_number
from zigflow_worker.expressions import JSON
from zigflow_worker.loading import UNREADABLE


class NodeError(Exception):
    """One part of the document is wrong.

    Args:
        message: what is wrong with it.
        pointer: of it.
        word: in it, which may be misspelt.
        known: words that it may be.
        more: what is said after a word that it may be.
    """

    def __init__(
        self,
        message: str,
        pointer: str,
        *,
        word: str = "",
        known: Collection[str] = (),
        more: str = "",
    ) -> None:
        super().__init__(message + more)
        self.message = message + more
        self.pointer = pointer
        self._parts = message, word, known, more

    def message_with_hint(self) -> str:
        """Return the message, with the word that is meant where one is close."""
        message, word, known, more = self._parts
        return f"{message}{did_you_mean(word, known)}{more}"


class LooseNodeError(NodeError):
    """One part of the document is wrong, which 0.1.0 read over."""


class UnknownKeyError(NodeError):
    """A key of a map is not known: nothing is known of its value."""


class TextError(NodeError):
    """A character of a text is wrong.

    Args:
        message: what is wrong.
        node: the text.
        index: of the character, from 0.
        word: at that place, which may be misspelt.
        known: words that it may be.
    """

    def __init__(
        self, message: str, node: Node, index: int, *, word: str = "", known: Collection[str] = ()
    ) -> None:
        super().__init__(message, node.pointer, word=word, known=known)
        self.text = str(node.value)
        self.index = index

    @property
    def position(self) -> str:
        """Where the character is in the text."""
        line = self.text.count("\n", 0, self.index) + 1
        column = self.index - self.text.rfind("\n", 0, self.index)
        return f"at line {line}, column {column} of the text"


class ConsequenceError(NodeError):
    """One part of the document cannot be judged, because of a mistake that is known already."""


class ErrorSink(Protocol):
    """A list of mistakes."""

    def add(self, error: NodeError) -> None:
        """Add one."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the document and its JSON pointer.

    Every reader raises NodeError. With a list of `mistakes`, all of a document are wanted: those
    with which reading can go on are added to it instead.
    """

    value: JSON
    pointer: str
    mistakes: ErrorSink | None = field(default=None, compare=False, repr=False)

    def child(self, key: str | int) -> Node:
        """Return an item of this map or list, known to be there."""
        return self._at(key, self.value[key])  # type: ignore[index]

    @property
    def is_unreadable(self) -> bool:
        """Nothing is known of it, because of a mistake."""
        return self.value is UNREADABLE

    def unreadable(self, key: str) -> Node:
        """Return an item of this map of which nothing is known, because of a mistake."""
        return self._at(key, UNREADABLE)

    def _at(self, key: str | int, value: JSON) -> Node:
        token = str(key).replace("~", "~0").replace("/", "~1")
        return Node(value, f"{self.pointer}/{token}", self.mistakes)

    def error(self, message: str, *, known: Collection[str] = (), more: str = "") -> NodeError:
        """Return the error to raise for this node.

        Args:
            message: what is wrong with it.
            known: words of which it should be one.
            more: what is said after the one that is meant.
        """
        kind = ConsequenceError if self.value is UNREADABLE else NodeError
        word = self.value if isinstance(self.value, str) else ""
        return kind(message, self.pointer, word=word, known=known, more=more)

    def loose_error(self, message: str) -> NodeError:
        """Return the error to raise for this node where 0.1.0 read over it."""
        kind = ConsequenceError if self.value is UNREADABLE else LooseNodeError
        return kind(message, self.pointer)

    @contextmanager
    def part(self) -> Iterator[None]:
        """Go on after a NodeError of the body, where all mistakes are wanted."""
        try:
            yield
        except NodeError as error:
            if self.mistakes is None:
                raise
            self.mistakes.add(error)

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
        unknown = [key for key in fields if key not in allowed]
        for key in unknown:
            with self.part():
                raise UnknownKeyError(
                    f"unknown key '{key}'",
                    fields[key].pointer,
                    word=key,
                    known=[each for each in allowed if each not in fields],
                    more=f"; allowed here: {', '.join(sorted(allowed))}",
                )
        for key in required:
            if key not in fields and not is_misspelt(key, unknown):
                with self.part():
                    raise self.error(f"'{key}' is required")
        if self.mistakes is None:
            return fields
        return _KnownFields(self, {key: fields[key] for key in fields if key in allowed}, unknown)

    def items(self) -> list[Node]:
        """Return the items of a list."""
        if not isinstance(self.value, list):
            raise self.error(f"expected a list, not {_type_phrase(self.value)}")
        return [self.child(index) for index in range(len(self.value))]

    def named_items(self) -> Iterator[tuple[str, Node]]:
        """Yield name and value of each item of a list of maps with a single key."""
        for item in self.items():
            named: dict[str, Node] = {}
            with item.part():
                fields = item.mapping()
                if len(fields) != 1:
                    count = len(fields)
                    raise item.error(f"expected a map with one key, its name, not {count} keys")
                named = fields
            yield from named.items()


class _KnownFields(dict[str, Node]):
    """The known items of a map. Of one that is absent by mistake, nothing is known."""

    def __init__(self, node: Node, fields: dict[str, Node], unknown: list[str]) -> None:
        super().__init__(fields)
        self._node = node
        self._unknown = unknown

    def __missing__(self, key: str) -> Node:
        return self._node.unreadable(key)

    @override
    def get(self, key: str, default: Node | None = None) -> Node | None:  # type: ignore[override]
        if key not in self and is_misspelt(key, self._unknown):
            return self._node.unreadable(key)
        return super().get(key, default)


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
