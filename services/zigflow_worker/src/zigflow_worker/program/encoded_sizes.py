"""Sizes that values have as JSON, without writing them."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Any, NamedTuple, TypeAlias

from zigflow_worker.expressions import JSON

MAX_DEPTH = 500
"""Maps and lists inside each other that can be carried."""
_OTHER_SIZE = 8
"""Of a float, and of null."""

_Container: TypeAlias = "dict[str, Any] | list[Any]"
_Parts: TypeAlias = dict[int, tuple[_Container, int]]
"""Containers at one depth of a value, each once, and how often it stands there; by their id()."""


class EncodedSize(NamedTuple):
    """Roughly the bytes of a value as JSON: of its UTF-8, and as 0.1.0 estimated them."""

    utf8: int
    estimate_0_1_0: int
    """Where it decides what a run does, recorded runs need it."""
    suspects: int
    """Floats, and texts beyond ASCII: only they may be what JSON cannot say."""

    def exceeds(self, limit: int) -> bool:
        """Return whether both are above a limit."""
        return self.utf8 > limit and self.estimate_0_1_0 > limit


def encoded_size(value: JSON, limit: int) -> EncodedSize:
    """Return the encoded size of a value, or numbers above `limit`.

    A part counts wherever it stands, but is walked once at each depth: what a few maps that share
    parts describe can be too large to be walked, let alone to be written. Values that nest deeper
    than any encoder goes count as too large.
    """
    too_large = EncodedSize(limit + 1, limit + 1, 1)
    if not isinstance(value, (dict, list)):
        whole = EncodedSize(*_scalar_sizes(value))
        return too_large if whole.exceeds(limit) else whole
    size = estimate = suspects = 0
    parts: _Parts = {id(value): (value, 1)}
    for depth in range(MAX_DEPTH + 1):
        deeper: _Parts = {}
        for container, count in parts.values():
            own, own_estimate, own_suspects = _own_sizes(container, count, deeper, limit)
            size += count * own
            estimate += count * own_estimate
            suspects += own_suspects
            if (size > limit and estimate > limit) or (depth == MAX_DEPTH and container):
                return too_large
        if not deeper:
            break
        parts = deeper
    return EncodedSize(size, estimate, suspects)


def _own_sizes(
    container: _Container, count: int, deeper: _Parts, limit: int
) -> tuple[int, int, int]:
    """Return the sizes of a container without those in it, which are added to `deeper`.

    It stops above `limit`.
    """
    length = len(container)
    size = estimate = 2 + length
    suspects = 0
    children: Any = container
    if type(container) is dict:
        size += length
        estimate += 3 * length
        for key in container:
            quoted = encode_basestring(key)
            estimate += len(key)
            if quoted.isascii():
                size += len(quoted)
            else:
                size += _utf8_size(quoted)
                suspects += 1
        children = container.values()
    for child in children:
        kind = type(child)
        if kind is int:
            number = child.bit_length() // 3 + 2
            size += number
            estimate += number
        elif kind is dict or kind is list:
            place = id(child)
            deeper[place] = (child, deeper[place][1] + count if place in deeper else count)
        else:
            more, more_estimate, more_suspects = _scalar_sizes(child)
            size += more
            estimate += more_estimate
            suspects += more_suspects
            if size > limit and estimate > limit:
                break
    return size, estimate, suspects


def _scalar_sizes(value: JSON) -> tuple[int, int, int]:
    if isinstance(value, str):
        quoted = encode_basestring(value)
        if quoted.isascii():
            return len(quoted), len(value) + 2, 0
        # Written as ASCII, the widest characters take six bytes.
        return _utf8_size(quoted), 6 * len(value) + 2, 1
    size = value.bit_length() // 3 + 2 if isinstance(value, int) else _OTHER_SIZE
    return size, size, int(isinstance(value, float))


def _utf8_size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
