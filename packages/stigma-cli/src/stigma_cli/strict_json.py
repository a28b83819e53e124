"""JSON as Stigma takes it: finite numbers, whole characters, bounded nesting."""

from __future__ import annotations

import json
from typing import Any

from stigma.contracts import json_text

TOO_DEEP = "is nested too deeply"


def parse_json(text: str) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is not JSON, or has a number or a text that JSON cannot carry to everybody.
    """
    check_text(text)
    try:
        return json_text.parse(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from None
    except json_text.NestingError:
        raise ValueError(TOO_DEEP) from None
    except UnicodeEncodeError as error:
        raise _half_pair(error) from None
    except ValueError as error:
        raise ValueError(f"has {_number_problem(str(error))}") from None


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
        raise _half_pair(error) from None


def _half_pair(error: UnicodeEncodeError) -> ValueError:
    half = ord(error.object[error.start])
    return ValueError(f"has half of a surrogate pair, \\u{half:04x}")


def _number_problem(number: str) -> str:
    """Return what is wrong with a number, given its text, or the error of one of many digits."""
    if number.lstrip("-") in {"NaN", "Infinity"}:
        return f"{number}, which is no JSON number"
    return f"a number that is too large{'' if ' ' in number else f': {number}'}"
