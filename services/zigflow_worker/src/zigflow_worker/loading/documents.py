"""One document: its data, and where each part of it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from stigma.contracts import json_text, limits
from zigflow_worker.expressions import JSON
from zigflow_worker.loading.errors import TOO_HEAVY, DocumentError, DocumentTooHeavyError, quoted
from zigflow_worker.loading.events import Event
from zigflow_worker.loading.json_events import NotJsonError, json_events
from zigflow_worker.loading.scalars import plain_value
from zigflow_worker.loading.yaml_events import yaml_events

MAX_CHARACTERS = 1_000_000
MAX_NODES = 50_000
"""Values in a document, those an alias repeats included."""
MAX_BLOCKS = 100
"""Lists inside each other: every nested block of tasks is a list."""
MAX_MAPS = 3 * MAX_BLOCKS
"""Maps inside each other: a block needs at most three (task, definition, fork)."""
MAX_FOREIGN_NODES = 500_000
"""Values in a document of another language."""
MAX_FOREIGN_DEPTH = 100
"""Lists and maps inside each other in a document of another language."""
_JSON_EVENT, _YAML_EVENT = 12, 40
"""Weights of an event: a value, a key or an end."""


@dataclass(slots=True)
class _Place:
    line: int
    column: int
    children: dict[str, _Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document's `data`, and where each part of it is written; `weight` is that of reading it.

    Values repeated by an alias are the same object: treat `data` as read-only.
    """

    data: JSON
    weight: int
    _root: _Place

    def position(self, pointer: str) -> tuple[int, int]:
        """Return line and column, from 1, of a JSON pointer or of its nearest known parent."""
        place = self._root
        for token in pointer.split("/")[1:]:
            child = place.children.get(token.replace("~1", "/").replace("~0", "~"))
            if child is None:
                break
            place = child
        return place.line, place.column


# Few: a text is compiled soon after it was read, and its places may take 12 MiB.
@lru_cache(maxsize=16)
def load_document(text: str, most: int | None = limits.MAX_DOCUMENT_WEIGHT) -> SourceDocument:
    """Read one YAML 1.2 or JSON document, once for each text (raises DocumentError).

    `most` is the weight it may have, None any.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"the document is longer than {MAX_CHARACTERS} characters")
    text = text.removeprefix("\ufeff")
    if text.lstrip(" \t\r\n")[:1] in ("{", "["):
        try:
            return _Builder(_JSON_EVENT, most).build(json_events(text))
        except NotJsonError:
            pass  # flow style YAML begins the same way
    return _Builder(_YAML_EVENT, most).build(yaml_events(text))


def load_foreign(text: str) -> JSON:
    """Read one JSON or YAML 1.2 document of another language (raises DocumentError).

    Map keys may be numbers, which OpenAPI's are (`200:`): they are read as text. Values repeated by
    an alias are the same object.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip(" \t\r\n")[:1] in ("{", "["):
        try:
            data: JSON = json_text.parse(text)
        except json_text.NestingError as error:
            raise DocumentError(str(error)) from None
        except ValueError:
            data = None  # flow style YAML begins the same way
        else:
            _check_foreign(data)
            return data
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(f"YAML may have {MAX_CHARACTERS} characters: longer, it has to be JSON")
    builder = _Builder(_YAML_EVENT, None, text_keys=True, nodes=MAX_FOREIGN_NODES)
    data = builder.build(yaml_events(text)).data
    _check_foreign(data)
    return data


def _check_foreign(data: JSON) -> None:
    waiting, nodes = [(data, 1)], 0
    while waiting:
        value, depth = waiting.pop()
        nodes += 1
        if nodes > MAX_FOREIGN_NODES:
            raise DocumentError(f"the document has more than {MAX_FOREIGN_NODES} values")
        if depth > MAX_FOREIGN_DEPTH and isinstance(value, (dict, list)):
            raise DocumentError(f"the document is nested more than {MAX_FOREIGN_DEPTH} deep")
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]


class _Extent(NamedTuple):
    """The share of a value in the limits, wherever it stands."""

    nodes: int
    blocks: int
    maps: int


_SCALAR = _Extent(1, 0, 0)
_Anchored: TypeAlias = tuple[JSON, _Extent]


class _Frame:
    """A list or map that is being read."""

    __slots__ = ("anchor", "blocks", "data", "key", "maps", "nodes", "place")

    def __init__(self, data: dict[str, JSON] | list[JSON], anchor: str | None, place: _Place):
        self.data = data
        self.anchor = anchor
        self.place = place
        self.key: str | None = None
        self.nodes, self.blocks, self.maps = 1, 0, 0


class _Builder:
    def __init__(
        self,
        weight_of_event: int,
        most: int | None,
        *,
        text_keys: bool = False,
        nodes: int = MAX_NODES,
    ) -> None:
        self._weight, self._weight_of_event, self._most = 0, weight_of_event, most
        self._text_keys, self._most_nodes = text_keys, nodes
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0
        self._root: tuple[JSON, _Place] | None = None

    def build(self, events: Iterator[Event]) -> SourceDocument:
        for event in events:
            self._weight += self._weight_of_event
            if self._most is not None and self._weight > self._most:
                raise DocumentTooHeavyError(TOO_HEAVY, self._pointer(), event.line, event.column)
            if self._root is not None:
                raise self._error("a second document follows the first: only one is read", event)
            if event.kind == "end":
                self._close()
            elif self._expects_key():
                self._take_key(event)
            elif event.kind in ("map", "list"):
                self._open(event)
            else:
                self._add(event)
        if self._root is None:
            raise DocumentError("the document is empty")
        data, place = self._root
        return SourceDocument(data, self._weight, place)

    def _expects_key(self) -> bool:
        return (
            bool(self._frames)
            and isinstance(self._frames[-1].data, dict)
            and self._frames[-1].key is None
        )

    def _take_key(self, event: Event) -> None:
        if event.kind not in ("plain", "text"):
            raise self._error("a map key must be a string", event)
        if event.kind == "plain" and event.value == "<<":
            raise self._error("merge keys (<<) are not supported", event)
        key = event.value if self._text_keys else self._scalar(event)
        if not isinstance(key, str):
            raise self._error(f"map key {event.value or 'null'} must be a string: quote it", event)
        frame = self._frames[-1]
        if key in frame.data:
            raise self._error(f"duplicate key {quoted(key)}", event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (key, _SCALAR)
        frame.key = key
        frame.place.children[key] = _Place(event.line, event.column)

    def _open(self, event: Event) -> None:
        self._check_nesting(event, _Extent(1, int(event.kind == "list"), int(event.kind == "map")))
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # known, but not to be used inside itself
        data: dict[str, JSON] | list[JSON] = {} if event.kind == "map" else []
        self._frames.append(_Frame(data, event.anchor, self._place(event)))

    def _close(self) -> None:
        frame = self._frames.pop()
        own_block, own_map = isinstance(frame.data, list), isinstance(frame.data, dict)
        extent = _Extent(frame.nodes, frame.blocks + own_block, frame.maps + own_map)
        self._attach(frame.data, extent, frame.anchor, frame.place)

    def _add(self, event: Event) -> None:
        if event.kind == "alias":
            data, extent = self._resolve(event)
            self._check_nesting(event, extent)
        else:
            data, extent = self._scalar(event), _SCALAR
            self._check_nesting(event, extent)
        self._attach(data, extent, event.anchor, self._place(event))

    def _attach(self, data: JSON, extent: _Extent, anchor: str | None, place: _Place) -> None:
        if anchor is not None:
            self._anchors[anchor] = (data, extent)
        if not self._frames:
            self._root = (data, place)
            return
        frame = self._frames[-1]
        if isinstance(frame.data, list):
            frame.data.append(data)
        elif frame.key is not None:
            frame.data[frame.key] = data
            frame.key = None
        frame.nodes += extent.nodes
        frame.blocks = max(frame.blocks, extent.blocks)
        frame.maps = max(frame.maps, extent.maps)

    def _place(self, event: Event) -> _Place:
        """Return the place of the next value: of a map's value, that of its key."""
        if not self._frames:
            return _Place(event.line, event.column)
        frame = self._frames[-1]
        if frame.key is not None:
            return frame.place.children[frame.key]
        place = _Place(event.line, event.column)
        frame.place.children[str(len(frame.data))] = place
        return place

    def _resolve(self, event: Event) -> _Anchored:
        if event.value not in self._anchors:
            raise self._error(f"alias *{event.value} has no anchor before it", event)
        anchored = self._anchors[event.value]
        if anchored is None:
            raise self._error(f"alias *{event.value} contains itself", event)
        return anchored

    def _check_nesting(self, event: Event, extent: _Extent) -> None:
        self._nodes += extent.nodes
        if self._nodes > self._most_nodes:
            raise self._error(f"the document has more than {self._most_nodes} values", event)
        if not (extent.blocks or extent.maps):
            return
        lists = sum(isinstance(frame.data, list) for frame in self._frames)
        if lists + extent.blocks > MAX_BLOCKS:
            raise self._error(f"blocks are nested more than {MAX_BLOCKS} deep", event)
        if len(self._frames) - lists + extent.maps > MAX_MAPS:
            raise self._error(f"maps are nested more than {MAX_MAPS} deep", event)

    def _scalar(self, event: Event) -> JSON:
        try:
            # YAML reads each half of an escaped surrogate pair as a character of its own.
            text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
            return plain_value(text) if event.kind == "plain" else text
        except UnicodeDecodeError:
            raise self._error("a string holds half a surrogate pair", event) from None
        except ValueError as error:
            raise self._error(str(error), event) from None

    def _error(self, message: str, event: Event) -> DocumentError:
        return DocumentError(message, self._pointer(), event.line, event.column)

    def _pointer(self) -> str:
        tokens = []
        for frame in self._frames:
            if isinstance(frame.data, list):
                tokens.append(str(len(frame.data)))
            elif frame.key is not None:
                tokens.append(frame.key.replace("~", "~0").replace("/", "~1"))
        return "".join(f"/{token}" for token in tokens)
