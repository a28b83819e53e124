"""Values as text: JSON as jq prints it, and short descriptions for messages."""

from __future__ import annotations

import math
from json.encoder import encode_basestring
from typing import Any

_SIZE = 29
"""Bytes of a value in a message."""
_LARGEST = "1.7976931348623157e+308"


def format_number(value: float) -> str:
    """Return a number as jq prints it: whole numbers without a point, NaN as null."""
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value):
        text = repr(value)
        return text[:-2] if text.endswith(".0") else _spelled_out(text) if "e+" in text else text
    if value != value:  # noqa: PLR0124 - NaN
        return "null"
    return _LARGEST if value > 0 else f"-{_LARGEST}"


def _spelled_out(text: str) -> str:
    """Return a large number with its zeros, if these are few."""
    digits, _, exponent = text.partition("e+")
    sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
    whole, _, fraction = digits.partition(".")
    if int(exponent) + 1 > len(whole + fraction) + 15:
        return text
    return sign + (whole + fraction).ljust(int(exponent) + 1, "0")


def quote(text: str) -> str:
    """Return a text as a JSON string."""
    quoted: str = encode_basestring(text)
    return quoted.replace("\x7f", "\\u007f") if "\x7f" in quoted else quoted


def to_json(value: Any) -> str:
    """Return the JSON of a value that was weighed: it recurses over containers."""
    kind = type(value)
    if kind is str:
        return quote(value)
    if kind is int or kind is float:
        return format_number(value)
    if kind is list:
        return "[" + ",".join(map(to_json, value)) + "]"
    if kind is dict:
        return "{" + ",".join([f"{quote(k)}:{to_json(v)}" for k, v in value.items()]) + "}"
    return "null" if value is None else "true" if value else "false"


def _write(parts: list[str], value: Any, room: int) -> int:
    """Add the JSON of a value to `parts`; return the room left, and stop once there is none."""
    if isinstance(value, str):
        parts.append(quote(value) if len(value) <= room else quote(value[: room + 1])[:-1])
        return room - len(parts[-1])
    if not isinstance(value, (list, dict)):
        parts.append(to_json(value))
        return room - len(parts[-1])
    is_map = isinstance(value, dict)
    parts.append("{" if is_map else "[")
    room -= 1
    for number, item in enumerate(value):
        if room < 0:
            return room
        if number:
            parts.append(",")
        room = _write(parts, item, room - 1)
        if is_map and room >= 0:
            parts.append(":")
            room = _write(parts, value[item], room - 1)
    parts.append("}" if is_map else "]")
    return room - 1


def brief(value: Any, size: int = _SIZE) -> str:
    """Return the JSON of a value, cut to so many bytes if it is longer."""
    parts: list[str] = []
    _write(parts, value, size + 1)
    text = "".join(parts)
    data = text.encode(errors="replace")
    if len(data) <= size:
        return text
    end = {'"': '"', "[": "]", "{": "}"}.get(text[0], "")
    return data[: size - 3 - len(end)].decode(errors="ignore") + "..." + end


def type_name(value: Any) -> str:
    """Return jq's word for the type of a value."""
    return _NAMES[type(value)]


def describe(value: Any) -> str:
    """Return the type of a value and the beginning of its text."""
    return f"{_NAMES[type(value)]} ({brief(value)})"


_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
