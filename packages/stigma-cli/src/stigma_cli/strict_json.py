"""JSON as Stigma takes it: finite numbers, whole characters, bounded nesting."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from stigma.contracts import json_text

TOO_DEEP = "is nested too deeply"


def parse_json(text: str) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is not JSON, or has a number or a text that JSON cannot carry to everybody.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_texts(value)
    return value


def dump_json(value: Any) -> str:
    """Return a value of YAML as compact JSON text.

    Raises:
        ValueError: JSON has no such value.
    """
    try:
        text = json_text.compact(value, allow_nan=False)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    check_text(text)
    return text


def check_text(text: str) -> None:
    """Refuse half of a surrogate pair, which is no character.

    Raises:
        ValueError: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"has half of a surrogate pair, \\u{ord(half):04x}") from None


def _check_texts(value: Any) -> None:
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            check_text(each)
        elif isinstance(each, Mapping):
            pending += [*each, *each.values()]
        elif isinstance(each, list):
            pending += each


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"has a number that is too large: {text[:40]}")
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"has {text}, which is no JSON number")
