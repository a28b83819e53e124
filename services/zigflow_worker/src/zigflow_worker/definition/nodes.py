"""Parts of a document, each with its JSON pointer."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from typing_extensions import override

from zigflow_worker.definition.node_errors import (
    ConsequenceError,
    ErrorSink,
    LooseNodeError,
    NodeError,
    UnknownKeyError,
)
from zigflow_worker.definition.spelling import is_meant
from zigflow_worker.durations import whole_number
from zigflow_worker.expressions import JSON
from zigflow_worker.loading import UNREADABLE


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

    def mapping(self, like: str = "") -> dict[str, Node]:
        """Return the items of a map with any keys; `like` is an example of one."""
        if not isinstance(self.value, dict):
            raise self.error(_expected("a map", like, self.value))
        return {key: self.child(key) for key in self.value}

    def fields(
        self,
        *allowed: str,
        required: Iterable[str] = (),
        like: str = "",
        inside: str = "",
        elsewhere: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Node]:
        """Return the items of a map that may have only the keys named.

        Args:
            allowed: these keys.
            required: keys that have to be there.
            like: an example of such a map.
            inside: the key into which others belong that stand here in its place.
            elsewhere: where keys belong that do not belong here.
        """
        fields = self.mapping(like)
        unknown = [key for key in fields if key not in allowed]
        if unknown and inside and inside not in fields and not is_meant(inside, unknown):
            with self.part():
                names = ", ".join(unknown)
                shown = f", as in {like}" if like else ""
                raise self.error(f"'{inside}' is required, with {names} in it{shown}")
            return _KnownFields(self, {k: fields[k] for k in fields if k in allowed}, [inside])
        for key in unknown:
            with self.part():
                raise self._unknown_key(key, allowed, fields, elsewhere)
        for key in required:
            if key not in fields and not is_meant(key, unknown):
                with self.part():
                    raise self.error(f"'{key}' is required")
        if self.mistakes is None:
            return fields
        return _KnownFields(self, {key: fields[key] for key in fields if key in allowed}, unknown)

    def _unknown_key(
        self,
        key: str,
        allowed: Sequence[str],
        fields: Mapping[str, Node],
        elsewhere: Mapping[str, str],
    ) -> NodeError:
        more = f"; allowed here: {', '.join(sorted(allowed))}"
        if key in elsewhere:
            return UnknownKeyError(
                f"unknown key '{key}': it belongs {elsewhere[key]}{more}", fields[key].pointer
            )
        known = [each for each in allowed if each not in fields]
        message = f"unknown key '{key}'"
        return UnknownKeyError(message, fields[key].pointer, word=key, known=known, more=more)

    def items(self, like: str = "") -> list[Node]:
        """Return the items of a list; `like` is an example of one."""
        if not isinstance(self.value, list):
            raise self.error(_expected("a list", like, self.value))
        return [self.child(index) for index in range(len(self.value))]

    def named_items(self, like: str) -> Iterator[tuple[str, Node]]:
        """Yield name and value of each item of a list of maps with a single key.

        `like` is an example of such a list.
        """
        for item in self.items(like):
            named: dict[str, Node] = {}
            with item.part():
                fields = item.mapping()
                if len(fields) != 1:
                    raise item.error(
                        f"expected a map with one key, its name, not {len(fields)} keys, as in "
                        f"{like}"
                    )
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
        if key not in self and is_meant(key, self._unknown):
            return self._node.unreadable(key)
        return super().get(key, default)


def _expected(what: str, like: str, value: JSON) -> str:
    shown = f", as in {like}" if like else ""
    return f"expected {what}, not {_type_phrase(value)}{shown}"


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
