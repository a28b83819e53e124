"""The formats of `@name`, and values as text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import describe, format_number, to_json

_HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&apos;", '"': "&quot;"})
_TSV = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\", "\0": "\\0"})
_URI = [
    chr(byte) if re.match("[A-Za-z0-9_.~-]", chr(byte), re.ASCII) else f"%{byte:02X}"
    for byte in range(256)
]
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_NOT_BASE32 = re.compile(r"[^A-Z2-7]")


def to_text(meter: Budget, value: Any) -> str:
    """Return a text as it is, JSON of all else."""
    if type(value) is str:
        return value
    meter.weigh_text(value)
    return to_json(value)


def json_text(meter: Budget, value: Any) -> str:
    """Return the JSON of a value."""
    meter.weigh_text(value)
    return to_json(value)


def _expanded(meter: Budget, value: Any, factor: int) -> str:
    """Return the text of a value that will become so many times longer."""
    text = to_text(meter, value)
    meter.make_text(factor * len(text))
    return text


def _row(meter: Budget, value: Any, what: str, of_text: Callable[[str], str], between: str) -> str:
    if not isinstance(value, list):
        raise JqError(f"{describe(value)} cannot be {what}-formatted, only array")
    meter.weigh_text(value)
    cells = []
    for cell in value:
        if isinstance(cell, str):
            meter.make_text(2 * len(cell))
            cells.append(of_text(cell))
        elif isinstance(cell, (list, dict)):
            raise JqError(f"{describe(cell)} is not valid in a csv row")
        elif cell is None or cell != cell:  # noqa: PLR0124
            cells.append("")
        else:
            cells.append(to_json(cell) if isinstance(cell, bool) else format_number(cell))
    return between.join(cells)


def _csv(meter: Budget, value: Any) -> str:
    return _row(meter, value, "csv", lambda cell: '"' + cell.replace('"', '""') + '"', ",")


def _tsv(meter: Budget, value: Any) -> str:
    return _row(meter, value, "tsv", lambda cell: cell.translate(_TSV), "\t")


def _html(meter: Budget, value: Any) -> str:
    return _expanded(meter, value, 8).translate(_HTML)


def _uri(meter: Budget, value: Any) -> str:
    data = _expanded(meter, value, 24).encode(errors="replace")
    return "".join([_URI[byte] for byte in data])


def _urid(meter: Budget, value: Any) -> str:
    text = _expanded(meter, value, 8)
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise JqError(f"{describe(value)} is not a valid uri encoding")
    try:
        return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text.encode()).decode()
    except UnicodeError:
        raise JqError(f"{describe(value)} is not a valid uri encoding") from None


def _sh(meter: Budget, value: Any) -> str:
    words = []
    for word in value if isinstance(value, list) else [value]:
        if isinstance(word, (list, dict)):
            raise JqError(f"{describe(word)} can not be escaped for shell")
        if isinstance(word, str):
            meter.make_text(5 * len(word))
            escaped = word.replace("'", "'\\''").replace("\0", "\\0")
            words.append(f"'{escaped}'")
        else:
            words.append(json_text(meter, word))
    return " ".join(words)


def _encoding(encode: Callable[[bytes], bytes], growth: int) -> Callable[[Budget, Any], str]:
    def encoded(meter: Budget, value: Any) -> str:
        data = _expanded(meter, value, growth).encode(errors="replace")
        return encode(data).decode("ascii")

    return encoded


def _base64d(meter: Budget, value: Any) -> str:
    text = _expanded(meter, value, 2)
    body = text.rstrip("=")
    if _NOT_BASE64.search(body):
        raise JqError(f"{describe(text)} is not valid base64 data")
    if len(body) % 4 == 1:
        raise JqError(f"{describe(text)} trailing base64 byte found")
    return base64.b64decode(body + "=" * (-len(body) % 4)).decode(errors="replace")


def _base32d(meter: Budget, value: Any) -> str:
    text = _expanded(meter, value, 2)
    body = text.rstrip("=")
    try:
        if not _NOT_BASE32.search(body):
            return base64.b32decode(body + "=" * (-len(body) % 8)).decode(errors="replace")
    except binascii.Error:
        pass
    raise JqError(f"{describe(text)} is not valid base32 data")


FORMATS: dict[str, Callable[[Budget, Any], str]] = {
    "text": to_text,
    "json": json_text,
    "csv": _csv,
    "tsv": _tsv,
    "html": _html,
    "uri": _uri,
    "urid": _urid,
    "sh": _sh,
    "base64": _encoding(base64.b64encode, 6),
    "base64d": _base64d,
    "base32": _encoding(base64.b32encode, 8),
    "base32d": _base32d,
}


def _format(meter: Budget, value: Any, name: Any) -> str:
    if not isinstance(name, str):
        raise JqError(f"{describe(name)} is not a valid format")
    if name not in FORMATS:
        raise JqError(f"{name[:100]} is not a valid format")
    return FORMATS[name](meter, value)


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("format", 1): _format,
    ("tojson", 0): json_text,
    ("tostring", 0): to_text,
}
