"""Builtins over text: conversions, formats, parsing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

from stigma.contracts import json_text
from zigflow_worker.expressions import engine
from zigflow_worker.expressions.arithmetic import divide, power
from zigflow_worker.expressions.engine import (
    JSON,
    Builtin,
    Environment,
    Filter,
    JqError,
    Key,
    describe,
)
from zigflow_worker.expressions.metering import MAX_DATA_DEPTH, current_meter

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MAX_DIGITS = 400


def _written(name: str, arity: int = 0) -> tuple[Key, Builtin]:
    """Take a builtin of the engine that reads a text, or a list of characters, once."""
    key = (name, arity)
    original = engine.BUILTINS[key]

    def builtin(data: JSON, env: Environment, *args: Filter) -> Iterator[JSON]:
        current_meter().count_text(16 * len(data) if isinstance(data, (str, list)) else 1)
        return original(data, env, *args)

    return key, builtin


def _format(data: JSON, _env: Environment, name: Filter) -> Iterator[JSON]:
    current_meter().count_value(data)
    for wanted in name.vals(data):
        yield engine.apply_format(str(wanted), data)


def _printable(data: JSON, _env: Environment) -> Iterator[JSON]:
    """Count what is about to be put into a text."""
    current_meter().count_value(data)
    yield data


def _split(data: JSON, _env: Environment, separator: Filter) -> Iterator[JSON]:
    for text in separator.vals(data):
        if not isinstance(data, str) or not isinstance(text, str):
            raise JqError("split input and separator must be strings")
        yield divide(data, text)


def _tonumber(data: JSON, _env: Environment) -> Iterator[JSON]:
    if isinstance(data, str) and _NUMBER.fullmatch(data):
        current_meter().count_text(len(data))
        yield (
            _parse_integer(data)
            if _INTEGER.fullmatch(data)
            else current_meter().number(float(data))
        )
    elif isinstance(data, (int, float)) and not isinstance(data, bool):
        yield data
    else:
        raise JqError(f"{describe(data)} cannot be parsed as a number")


def _parse_integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise JqError("number is out of range")
    return int(text)


def _fromjson(data: JSON, _env: Environment) -> Iterator[JSON]:
    if not isinstance(data, str):
        raise JqError(f"{describe(data)} cannot be parsed as JSON")
    current_meter().spend(4 + len(data) // 8)
    _check_depth(data)
    try:
        parsed: JSON = json.loads(
            data, parse_int=_parse_integer, parse_float=_parse_float, parse_constant=_refuse
        )
    except json.JSONDecodeError as error:
        raise JqError(f"{describe(data)} cannot be parsed as JSON: {error}") from None
    if "\\u" in data and json_text.problem_in(parsed):
        raise JqError("half of a surrogate pair is no character")
    yield parsed


def _check_depth(text: str) -> None:
    """Refuse deep JSON before the parser, which recurses; brackets in strings count too."""
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DATA_DEPTH:
            raise JqError("Exceeds depth limit for parsing")


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JqError("number is out of range")
    return number


def _refuse(text: str) -> JSON:
    raise JqError(f"{text} cannot be parsed as JSON")


def _math(name: str) -> tuple[Key, Builtin]:
    key = (name, 0)
    original = engine.BUILTINS[key]

    def builtin(data: JSON, env: Environment) -> Iterator[JSON]:
        try:
            results = list(original(data, env))
        except OverflowError:
            results = [math.inf]
        except ValueError:  # outside the function's domain
            results = [math.nan]
        for result in results:
            yield current_meter().number(result)  # type: ignore[arg-type]

    return key, builtin


def _not_finite(value: float) -> Builtin:
    def builtin(_data: JSON, _env: Environment) -> Iterator[JSON]:
        current_meter().has_non_finite = True
        yield value

    return builtin


def _pow(data: JSON, _env: Environment, base: Filter, exponent: Filter) -> Iterator[JSON]:
    for right in exponent.vals(data):
        for left in base.vals(data):
            yield power(left, right)


_MATH = (
    *("floor", "ceil", "round", "trunc", "nearbyint", "fabs", "sqrt", "cbrt"),
    *("exp", "exp2", "exp10", "log", "log2", "log10", "significand", "logb"),
    *("sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "gamma", "lgamma", "tgamma"),
)
_TEXT = ("explode", "implode", "ascii_downcase", "ascii_upcase", "trim", "ltrim", "rtrim")

BUILTINS: dict[Key, Builtin] = dict(
    [
        *map(_written, (*_TEXT, "utf8bytelength")),
        *(_written(name, 1) for name in ("ltrimstr", "rtrimstr", "startswith", "endswith")),
        *map(_math, _MATH),
    ]
) | {
    ("fromjson", 0): _fromjson,
    ("infinite", 0): _not_finite(math.inf),
    ("nan", 0): _not_finite(math.nan),
    ("pow", 2): _pow,
    ("split", 1): _split,
    ("tonumber", 0): _tonumber,
}
METERING: dict[Key, Builtin] = {("format", 1): _format, ("printable", 0): _printable}
