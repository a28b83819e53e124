"""Values of parameters as text: OpenAPI's styles, which are RFC 6570's and three more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from zigflow_worker.expressions import JSON
from zigflow_worker.expressions.printing import to_json

UNRESERVED: Final = "-._~"
RESERVED: Final = UNRESERVED + ":/?@!$'()*,;="
"""Reserved characters that mean nothing inside a query."""
_DELIMITERS: Final = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "tabDelimited": "%09"}


@dataclass(frozen=True, slots=True)
class Style:
    """The way in which one parameter is written."""

    name: str
    """`simple`, `label`, `matrix`, `form`, `spaceDelimited`, `pipeDelimited`, `deepObject`, or
    `tabDelimited`, which Swagger 2.0 alone has."""
    explode: bool
    allow_reserved: bool = False
    """Leave reserved characters as they are."""

    def encode(self, text: str) -> str:
        """Return text percent-encoded."""
        return quote(text, safe=RESERVED if self.allow_reserved else UNRESERVED)


def plain(value: JSON) -> str:
    """Return a scalar as text, and anything else as JSON text."""
    return value if isinstance(value, str) else to_json(value)


def path_text(style: Style, name: str, value: JSON) -> str:
    """Return the text of a path's parameter, percent-encoded."""
    if style.name == "matrix":
        return "".join(f";{pair.removesuffix('=')}" for pair in _pairs(style, name, value))
    if style.name == "label":
        return "." + _joined(style, value, "." if style.explode else ",", style.encode)
    return _joined(style, value, ",", style.encode)


def query_pairs(style: Style, name: str, value: JSON) -> list[str]:
    """Return the pairs `name=value` of a query's parameter, percent-encoded."""
    if style.name == "deepObject" and isinstance(value, dict):
        return list(_deep_pairs(style, name, value))
    return list(_pairs(style, name, value))


def header_text(style: Style, value: JSON) -> str:
    """Return the text of a header's parameter."""
    return _joined(style, value, ",", str)


def _pairs(style: Style, name: str, value: JSON) -> Iterator[str]:
    key = quote(name, safe=UNRESERVED)
    if style.explode and isinstance(value, list):
        yield from (f"{key}={style.encode(plain(item))}" for item in value)
    elif style.explode and isinstance(value, dict):
        for item, each in value.items():
            yield f"{quote(item, safe=UNRESERVED)}={style.encode(plain(each))}"
    elif value not in ([], {}):
        delimiter = _DELIMITERS.get(style.name, ",")
        yield f"{key}={_joined(style, value, delimiter, style.encode)}"


def _deep_pairs(style: Style, name: str, value: JSON) -> Iterator[str]:
    waiting: list[tuple[str, JSON]] = [(quote(name, safe=UNRESERVED), value)]
    while waiting:
        key, each = waiting.pop()
        if isinstance(each, dict):
            inner = [(f"{key}%5B{quote(k, safe=UNRESERVED)}%5D", v) for k, v in each.items()]
            waiting += reversed(inner)
        elif isinstance(each, list):
            waiting += [(key, item) for item in reversed(each)]
        else:
            yield f"{key}={style.encode(plain(each))}"


def _joined(style: Style, value: JSON, delimiter: str, encode: Callable[[str], str]) -> str:
    if isinstance(value, list):
        return delimiter.join(encode(plain(item)) for item in value)
    if isinstance(value, dict):
        if style.explode:
            return delimiter.join(f"{encode(k)}={encode(plain(v))}" for k, v in value.items())
        return delimiter.join(encode(plain(each)) for pair in value.items() for each in pair)
    return encode(plain(value))
