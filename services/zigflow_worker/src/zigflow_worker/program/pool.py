"""Values of a run as they are carried over: each once, however many frames hold it."""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import NamedTuple

from zigflow_worker.expressions import JSON


class PoolWriter:
    """Collects values; the same object gets the same place."""

    def __init__(self, trace_places: Mapping[int, int] | None = None) -> None:
        self.values: list[JSON] = []
        self.trace_places = trace_places or {}
        """Places of trace entries, by their id()."""
        self._places: dict[int, int] = {}

    def add(self, value: JSON) -> int:
        """Return the place of a value."""
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self.values)
            self.values.append(value)  # which also keeps the object, and so its id, alive
        return place


class PoolReader:
    """Gives back values by their places."""

    def __init__(self, values: list[JSON]) -> None:
        self._values = values

    def __getitem__(self, place: JSON) -> JSON:
        return self._values[place]  # type: ignore[index]


class EncodedSize(NamedTuple):
    """Roughly the bytes of a value as JSON: of its UTF-8, and as 0.1.0 estimated them."""

    utf8: int
    estimate_0_1_0: int
    """Where it decides what a run does, recorded runs need it."""


def encoded_size(value: JSON, limit: int) -> EncodedSize:
    """Return the encoded size of a value, or numbers above `limit`.

    It stops there: values that share parts can be too large to write out at all. Values that
    nest deeper than any encoder goes count as too large.
    """
    size = estimate = 0
    pending: list[tuple[JSON, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            size += _text_size(item)
            # Written as ASCII, the widest characters take six bytes.
            estimate += len(item) + 2 if item.isascii() else 6 * len(item) + 2
        elif isinstance(item, Mapping):
            size += 2 + sum(_text_size(key) + 2 for key in item)
            estimate += 2 + sum(len(key) + 4 for key in item)
            pending.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            size += 2 + len(item)
            estimate += 2 + len(item)
            pending.extend((child, depth + 1) for child in item)
        else:
            number = 8 if not isinstance(item, int) else item.bit_length() // 3 + 2
            size += number
            estimate += number
        if (size > limit and estimate > limit) or depth > MAX_DEPTH:
            return EncodedSize(limit + 1, limit + 1)
    return EncodedSize(size, estimate)


def _text_size(text: str) -> int:
    return len(encode_basestring(text).encode(errors="surrogatepass"))


MAX_DEPTH = 500
"""Maps and lists inside each other that can be carried."""
