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
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inside: list[JSON] = []
        for item in level:
            if isinstance(item, str):
                size += _text_size(item)
                # Written as ASCII, the widest characters take six bytes.
                estimate += len(item) + 2 if item.isascii() else 6 * len(item) + 2
            elif isinstance(item, dict):
                size += 2 + 2 * len(item)
                estimate += 2 + 4 * len(item)
                for key in item:
                    size += _text_size(key)
                    estimate += len(key)
                inside += item.values()
            elif isinstance(item, list):
                size += 2 + len(item)
                estimate += 2 + len(item)
                inside += item
            else:
                number = item.bit_length() // 3 + 2 if isinstance(item, int) else 8
                size += number
                estimate += number
            if size > limit and estimate > limit:
                return EncodedSize(limit + 1, limit + 1)
        if not inside:
            return EncodedSize(size, estimate)
        level = inside
    return EncodedSize(limit + 1, limit + 1)


def _text_size(text: str) -> int:
    quoted = encode_basestring(text)
    return len(quoted) if quoted.isascii() else len(quoted.encode(errors="surrogatepass"))


MAX_DEPTH = 500
"""Maps and lists inside each other that can be carried."""
