"""Builtins over texts: parts, characters, parsing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from stigma.contracts import json_text
from zigflow_worker.expressions.arithmetic import split
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.checked import MAX_DATA_DEPTH
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import describe
from zigflow_worker.expressions.values import is_number

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NAN = re.compile(r"-?nan", re.IGNORECASE)
_MAX_DIGITS = 308
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_LOWER = {code: code + 32 for code in range(65, 91)}
_UPPER = {code: code - 32 for code in range(97, 123)}


def _two_texts(data: Any, other: Any, name: str) -> None:
    if not (isinstance(data, str) and isinstance(other, str)):
        raise JqError(f"{name}() requires string inputs")


def _startswith(meter: Budget, data: Any, start: Any) -> bool:
    _two_texts(data, start, "startswith")
    meter.read_text(len(start))
    return bool(data.startswith(start))


def _endswith(meter: Budget, data: Any, end: Any) -> bool:
    _two_texts(data, end, "endswith")
    meter.read_text(len(end))
    return bool(data.endswith(end))


def _ltrimstr(meter: Budget, data: Any, start: Any) -> Any:
    _two_texts(data, start, "startswith")
    meter.make_text(len(data))
    return data.removeprefix(start)


def _rtrimstr(meter: Budget, data: Any, end: Any) -> Any:
    _two_texts(data, end, "endswith")
    meter.make_text(len(data))
    return data.removesuffix(end)


def _trimstr(meter: Budget, data: Any, text: Any) -> Any:
    return _rtrimstr(meter, _ltrimstr(meter, data, text), text)


def _trimmed(strip: Callable[[str, str], str]) -> Callable[[Budget, Any], str]:
    def builtin(meter: Budget, data: Any) -> str:
        if not isinstance(data, str):
            raise JqError("trim input must be a string")
        meter.make_text(len(data))
        return strip(data, _SPACE)

    return builtin


def _cased(table: dict[int, int]) -> Callable[[Budget, Any], str]:
    def builtin(meter: Budget, data: Any) -> str:
        if not isinstance(data, str):
            raise JqError("explode input must be a string")
        meter.make_text(4 * len(data))
        return data.translate(table)

    return builtin


def _explode(meter: Budget, data: Any) -> list[int]:
    if not isinstance(data, str):
        raise JqError("explode input must be a string")
    meter.make_items(4 * len(data))
    return list(map(ord, data))


def _implode(meter: Budget, data: Any) -> str:
    if not isinstance(data, list):
        raise JqError("implode input must be an array")
    meter.spend(len(data) // 2)
    meter.make_text(4 * len(data))
    if all(type(code) is int and 0 <= code < 0xD800 for code in data):
        return "".join(map(chr, data))
    return "".join(map(_character, data))


def _character(code: Any) -> str:
    if not is_number(code) or code != code:  # noqa: PLR0124
        raise JqError(f"{describe(code)} can't be imploded, unicode codepoint needs to be numeric")
    whole = int(max(min(code, 0x110000), -1))
    if not 0 <= whole < 0x110000 or 0xD800 <= whole < 0xE000:
        return "\ufffd"
    return chr(whole)


def _split(meter: Budget, data: Any, separator: Any) -> list[str]:
    if not (isinstance(data, str) and isinstance(separator, str)):
        raise JqError("split input and separator must be strings")
    return split(meter, data, separator)


def _utf8bytelength(meter: Budget, data: Any) -> int:
    if not isinstance(data, str):
        raise JqError(f"{describe(data)} only strings have UTF-8 byte length")
    meter.make_text(len(data))
    return len(data.encode(errors="replace"))


def _toboolean(_meter: Budget, data: Any) -> bool:
    if isinstance(data, bool):
        return data
    if data in ("true", "false"):
        return bool(data == "true")
    raise JqError(f"{describe(data)} cannot be parsed as a boolean")


def _tonumber(meter: Budget, data: Any) -> Any:
    if is_number(data):
        return data
    if isinstance(data, str):
        meter.read_text(len(data))
        if _NUMBER.fullmatch(data):
            number = _parse_integer(data) if _INTEGER.fullmatch(data) else float(data)
            return number if type(number) is int else meter.number(number)
        if _NAN.fullmatch(data):
            return meter.number(math.nan)
    raise JqError(f"{describe(data)} cannot be parsed as a number")


def _parse_integer(text: str) -> int | float:
    """Return an exact integer below 1e308, else a double, which may be infinite."""
    return int(text) if len(text) <= _MAX_DIGITS else float(text)


def _fromjson(meter: Budget, data: Any) -> Any:
    if not isinstance(data, str):
        raise JqError(f"{describe(data)} only strings can be parsed")
    meter.spend(4 + len(data) // 8)
    meter.make_items(len(data) // 2)
    stripped = data.strip(" \t\r\n")
    if _NUMBER.fullmatch(stripped) or _NAN.fullmatch(stripped):
        return _tonumber(meter, stripped)
    _check_depth(data)
    try:
        parsed = json.loads(data, parse_int=_parse_integer, parse_constant=_constant)
    except json.JSONDecodeError as error:
        place = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise JqError(f"{place} (while parsing '{data[:100]}')") from None
    if re.search("[eE]|NaN|[0-9]{300}", data):
        meter.non_finite = True  # it may be: the result will tell
    problem = json_text.problem_in(parsed) if "\\u" in data else ""
    if problem:
        raise JqError(problem)
    return parsed


def _check_depth(text: str) -> None:
    """Refuse deep JSON before the parser, which recurses; brackets in strings count too."""
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DATA_DEPTH:
            raise JqError("Exceeds depth limit for parsing")


def _constant(text: str) -> float:
    if text == "NaN":
        return math.nan
    raise JqError(f"{text} is not JSON")


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("ascii_downcase", 0): _cased(_LOWER),
    ("ascii_upcase", 0): _cased(_UPPER),
    ("endswith", 1): _endswith,
    ("explode", 0): _explode,
    ("fromjson", 0): _fromjson,
    ("implode", 0): _implode,
    ("ltrim", 0): _trimmed(str.lstrip),
    ("ltrimstr", 1): _ltrimstr,
    ("rtrim", 0): _trimmed(str.rstrip),
    ("rtrimstr", 1): _rtrimstr,
    ("split", 1): _split,
    ("startswith", 1): _startswith,
    ("toboolean", 0): _toboolean,
    ("tonumber", 0): _tonumber,
    ("trim", 0): _trimmed(str.strip),
    ("trimstr", 1): _trimstr,
    ("utf8bytelength", 0): _utf8bytelength,
}
