"""Builds the data of a document from its events, within limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from zigflow_worker.expressions import JSON
from zigflow_worker.loading.errors import (
    TOO_HEAVY,
    UNREADABLE,
    DocumentError,
    DocumentTooHeavyError,
    quoted,
)
from zigflow_worker.loading.events import Event
from zigflow_worker.loading.frames import MERGED, SCALAR, Extent, Frame
from zigflow_worker.loading.places import Place, SourceDocument
from zigflow_worker.loading.scalar_places import ScalarPlaces
from zigflow_worker.loading.scalars import plain_value

MAX_NODES = 50_000
"""Values in a document, those an alias repeats included."""
MAX_BLOCKS = 100
"""Lists inside each other: every nested block of tasks is a list."""
MAX_MAPS = 3 * MAX_BLOCKS
"""Maps inside each other: a block needs at most three (task, definition, fork)."""
_Anchored: TypeAlias = tuple[JSON, Extent]


class Builder:
    """Builds one document (raises DocumentError)."""

    def __init__(
        self,
        weight_of_event: int,
        most: int | None,
        *,
        text_keys: bool = False,
        nodes: int = MAX_NODES,
        found: list[DocumentError] | None = None,
    ) -> None:
        self._found = found
        self._weight, self._weight_of_event, self._most = 0, weight_of_event, most
        self._text_keys, self._most_nodes = text_keys, nodes
        self._frames: list[Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0
        self._root: tuple[JSON, Place] | None = None

    def build(self, events: Iterator[Event], text: str) -> SourceDocument:
        """Return the document that these events of a text make."""
        for event in events:
            self._weight += self._weight_of_event
            if self._most is not None and self._weight > self._most:
                raise DocumentTooHeavyError(TOO_HEAVY, self._pointer(), event.line, event.column)
            if event.problem:
                self._report(DocumentError(event.problem, "", event.line, event.column))
            if self._root is not None:
                message = "a second document follows the first: only one is read"
                self._report(self._error(message, event))
                break
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
        return SourceDocument(data, self._weight, place, ScalarPlaces(text))

    def _expects_key(self) -> bool:
        return (
            bool(self._frames)
            and isinstance(self._frames[-1].data, dict)
            and self._frames[-1].key is None
        )

    def _take_key(self, event: Event) -> None:
        if event.kind not in ("plain", "text"):
            raise self._error("a map key must be a string", event)
        frame = self._frames[-1]
        if event.kind == "plain" and event.value == "<<":
            self._report(self._error("merge keys (<<) are not supported", event))
            frame.key = MERGED
            return
        key = event.value if self._text_keys else self._scalar(event)
        if not isinstance(key, str):
            message = f"map key {event.value or 'null'} must be a string: quote it"
            self._report(self._error(message, event))
            key = event.value
        if key in frame.data:
            self._report(self._error(f"duplicate key {quoted(key)}", event))
            key = UNREADABLE
        if event.anchor is not None:
            self._anchors[event.anchor] = (key, SCALAR)
        frame.key = key
        if key is not UNREADABLE:
            frame.place.children[key] = Place(event.line, event.column)

    def _open(self, event: Event) -> None:
        self._check_nesting(event, Extent(1, int(event.kind == "list"), int(event.kind == "map")))
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # known, but not to be used inside itself
        data: dict[str, JSON] | list[JSON] = {} if event.kind == "map" else []
        self._frames.append(Frame(data, event.anchor, self._place(event)))

    def _close(self) -> None:
        frame = self._frames.pop()
        own_block, own_map = isinstance(frame.data, list), isinstance(frame.data, dict)
        extent = Extent(frame.nodes, frame.blocks + own_block, frame.maps + own_map)
        self._attach(frame.data, extent, frame.anchor, frame.place)

    def _add(self, event: Event) -> None:
        place = self._place(event)
        if event.kind == "alias":
            data, extent = self._resolve(event)
            self._check_nesting(event, extent)
        else:
            data, extent = self._scalar(event), SCALAR
            self._check_nesting(event, extent)
            place.scalar = event.offset
        self._attach(data, extent, event.anchor, place)

    def _attach(self, data: JSON, extent: Extent, anchor: str | None, place: Place) -> None:
        if anchor is not None:
            self._anchors[anchor] = (data, extent)
        if not self._frames:
            self._root = (data, place)
            return
        frame = self._frames[-1]
        if isinstance(frame.data, list):
            frame.data.append(data)
        elif frame.key is not None:
            frame.take(data)
        frame.nodes += extent.nodes
        frame.blocks = max(frame.blocks, extent.blocks)
        frame.maps = max(frame.maps, extent.maps)

    def _place(self, event: Event) -> Place:
        """Return the place of the next value: of a map's value, that of its key."""
        if not self._frames:
            return Place(event.line, event.column)
        frame = self._frames[-1]
        if frame.key is UNREADABLE or frame.key is MERGED:
            return Place(event.line, event.column)
        if frame.key is not None:
            return frame.place.children[frame.key]
        place = Place(event.line, event.column)
        frame.place.children[str(len(frame.data))] = place
        return place

    def _resolve(self, event: Event) -> _Anchored:
        anchored = self._anchors.get(event.value)
        if anchored is None:
            is_inside = event.value in self._anchors
            what = "contains itself" if is_inside else "has no anchor before it"
            self._report(self._error(f"alias *{event.value} {what}", event))
            return UNREADABLE, SCALAR
        return anchored

    def _check_nesting(self, event: Event, extent: Extent) -> None:
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
        if event.problem:
            return UNREADABLE
        try:
            # YAML reads each half of an escaped surrogate pair as a character of its own.
            text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
            return plain_value(text) if event.kind == "plain" else text
        except UnicodeDecodeError:
            self._report(self._error("a string holds half a surrogate pair", event))
        except ValueError as error:
            self._report(self._error(str(error), event))
        return UNREADABLE

    def _report(self, error: DocumentError) -> None:
        """Raise an error, or go on after it where all are wanted."""
        if self._found is None:
            raise error from None
        self._found.append(error)

    def _error(self, message: str, event: Event) -> DocumentError:
        return DocumentError(message, self._pointer(), event.line, event.column)

    def _pointer(self) -> str:
        tokens = [frame.token for frame in self._frames]
        return "".join(f"/{token}" for token in tokens if token is not None)
