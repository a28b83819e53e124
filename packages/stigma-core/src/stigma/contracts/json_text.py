"""JSON text that every reader takes: numbers are finite, and strings have whole characters."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse(text: str) -> Any:
    """Parse JSON text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        UnicodeEncodeError: a string has half of a surrogate pair.
        ValueError: a number is not finite, or too long.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(text, parse_constant=refuse_constant)
    if "\\u" in text:  # only an escape can be half of a surrogate pair
        compact(value).encode()
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


def refuse_constant(name: str) -> NoReturn:
    """Raise ValueError: for `parse_constant`, which gets NaN and the infinities."""
    raise ValueError(name)
