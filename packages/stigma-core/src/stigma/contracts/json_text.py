"""JSON text that every reader takes: numbers are finite, and strings have whole characters."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

# Bytes without which JSON text has neither a number that is not finite nor half a surrogate pair.
# Each is searched for by itself: one pattern of them all tries each at every byte.
_WORDS = (b"NaN", b"Infinity")
_LARGE_EXPONENT = re.compile(rb"[eE]\+?[0-9]{3}")
_LONG_NUMBER, _DIGITS_AS_ZEROS = b"0" * 309, bytes.maketrans(b"123456789", b"000000000")
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


class NestingError(ValueError):
    """JSON text that is nested too deeply to be read."""


def parse(text: str) -> Any:
    """Parse JSON text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        UnicodeEncodeError: a string has half of a surrogate pair.
        NestingError: it is nested too deeply.
        ValueError: a number is not finite, or too long. All of these are ValueErrors.
    """
    try:
        value = json.loads(text, parse_constant=refuse_constant, parse_float=finite_float)
        if "\\u" in text:  # only an escape can be half of a surrogate pair
            compact(value).encode()
    except RecursionError:
        raise NestingError("nested too deeply") from None
    return value


def compact(value: Any, *, sort_keys: bool = False, allow_nan: bool = True) -> str:
    """Return a value as JSON text without blanks, with letters beyond ASCII as they are."""
    return json.dumps(
        value,
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=sort_keys,
        allow_nan=allow_nan,
    )


def is_suspect(data: bytes) -> bool:
    """Return whether JSON text may hold what `problem_in` finds; cheap, and often true."""
    return (
        any(word in data for word in _WORDS)
        or _LARGE_EXPONENT.search(data) is not None
        or _LONG_NUMBER in data.translate(_DIGITS_AS_ZEROS)
        or _HALF_PAIR.search(data) is not None
    )


def values_in(value: Any) -> Iterator[Any]:
    """Yield a value of JSON and every value inside it; without recursion, keys not among them."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        yield each
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def problem_in(value: Any) -> str:
    """Return why JSON has no text for a value that Python reads and writes, or ""."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if _has_half_pair(item):
                return "half of a surrogate pair is no character"
        elif isinstance(item, dict):
            pending += [key for key in item if not key.isascii()]
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, float) and not math.isfinite(item):
            return "a number is not finite"
    return ""


def finite_float(text: str) -> float:
    """Return a number, or raise ValueError: for `parse_float`, which gets 1e999."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text[:30])
    return number


def refuse_constant(name: str) -> NoReturn:
    """Raise ValueError: for `parse_constant`, which gets NaN and the infinities."""
    raise ValueError(name)


def _has_half_pair(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def replace_surrogates(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON data may hold and no message or failure can."""
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
