"""Builtins over numbers: the functions of the C library that are the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from zigflow_worker.expressions.arithmetic import bounded
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import describe
from zigflow_worker.expressions.values import is_number

_SMALLEST_NORMAL = 2.2250738585072014e-308


def _number(value: Any) -> Any:
    if not is_number(value):
        raise JqError(f"{describe(value)} number required")
    return value


def _libm(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a builtin of a function of doubles; outside of its domain it is NaN or infinite."""

    def builtin(meter: Budget, data: Any, *arguments: Any) -> Any:
        operands = [float(_number(value)) for value in arguments or (data,)]
        try:
            return meter.number(function(*operands))
        except OverflowError:
            return meter.number(math.inf)
        except ValueError:
            return meter.number(math.nan)

    return builtin


def _whole(function: Callable[[Any], Any]) -> Callable[[Budget, Any], Any]:
    """Make a builtin that rounds: whole numbers, however large, stay exact."""

    def builtin(_meter: Budget, data: Any) -> Any:
        if type(data) is int or not math.isfinite(_number(data)):
            return data
        return function(data)

    return builtin


def _half_away(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def _log(function: Callable[[float], float]) -> Callable[[float], float]:
    def log(value: float) -> float:
        return -math.inf if value == 0 else function(value)

    return log


def _pow(meter: Budget, base: Any, exponent: Any) -> Any:
    """Return base ** exponent: exact of whole numbers."""
    if type(base) is int and type(exponent) is int and exponent >= 0:
        if base.bit_length() * exponent <= 2_048:
            return bounded(meter, base**exponent)
        if abs(base) <= 1:
            return base**exponent
    try:
        result = math.pow(base, exponent)
    except OverflowError:
        return math.inf if base > 0 or exponent % 2 == 0 else -math.inf
    except ValueError:
        return math.inf if base == 0 else math.nan
    return result


def _power(meter: Budget, _data: Any, base: Any, exponent: Any) -> Any:
    value = _pow(meter, _number(base), _number(exponent))
    return value if type(value) is int else meter.number(value)


def _frexp(meter: Budget, data: Any) -> list[Any]:
    value = meter.number(float(_number(data)))
    return list(math.frexp(value)) if math.isfinite(value) else [value, 0]


def _modf(meter: Budget, data: Any) -> list[Any]:
    value = meter.number(float(_number(data)))
    if math.isinf(value):
        return [math.copysign(0.0, value), value]
    return list(math.modf(value))


def _logb(value: float) -> float:
    if value == 0:
        return -math.inf
    return math.frexp(value)[1] - 1 if math.isfinite(value) else abs(value)


def _significand(value: float) -> float:
    return math.frexp(value)[0] * 2 if math.isfinite(value) else value


def _gamma(value: float) -> float:
    return math.inf if value <= 0 and value == math.floor(value) else math.lgamma(value)


def _lgamma_r(meter: Budget, data: Any) -> list[Any]:
    value = float(_number(data))
    is_negative = value < 0 and math.floor(value) % 2 == 1
    return [meter.number(_gamma(value)), -1 if is_negative else 1]


def _scaled(value: float, exponent: float) -> float:
    if not math.isfinite(exponent):
        return value * math.pow(2.0, exponent)
    return math.ldexp(value, int(max(min(exponent, 4096), -4096)))


def _drem(left: float, right: float) -> float:
    return math.remainder(left, right)


def _fma(left: float, right: float, addend: float) -> float:
    return left * right + addend


def _signed(value: Any) -> Any:
    """Return the absolute of a number; of others, as jq does, those that are not below zero."""
    if value is None or value is False or value is True:
        raise JqError(f"{describe(value)} cannot be negated")
    return (-value if value < 0 else value) if is_number(value) else value


def _is_normal(value: Any) -> bool:
    return is_number(value) and math.isfinite(value) and abs(value) >= _SMALLEST_NORMAL


_ONE: dict[str, Callable[[float], Any]] = {
    **{
        name: getattr(math, name)
        for name in (
            *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
            *("asinh", "acosh", "sqrt", "cbrt", "exp", "exp2", "expm1", "erf", "erfc", "log1p"),
        )
    },
    "atanh": lambda value: value * math.inf if abs(value) == 1 else math.atanh(value),
    "exp10": lambda value: math.pow(10.0, value),
    "fabs": abs,
    "gamma": _gamma,
    "lgamma": _gamma,
    "log": _log(math.log),
    "log10": _log(math.log10),
    "log2": _log(math.log2),
    "logb": _logb,
    "significand": _significand,
    "tgamma": lambda value: math.inf if value == 0 else math.gamma(value),
}
_TWO: dict[str, Callable[[float, float], Any]] = {
    "atan2": math.atan2,
    "copysign": math.copysign,
    "drem": _drem,
    "fdim": lambda left, right: max(left - right, 0.0),
    "fmax": lambda left, right: right if math.isnan(left) else max(left, right),
    "fmin": lambda left, right: right if math.isnan(left) else min(left, right),
    "fmod": math.fmod,
    "hypot": math.hypot,
    "ldexp": _scaled,
    "nextafter": math.nextafter,
    "nexttoward": math.nextafter,
    "remainder": _drem,
    "scalb": _scaled,
    "scalbln": _scaled,
}

FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    **{(name, 0): _libm(function) for name, function in _ONE.items()},
    **{(name, 2): _libm(function) for name, function in _TWO.items()},
    ("abs", 0): lambda _meter, data: _signed(data),
    ("ceil", 0): _whole(math.ceil),
    ("floor", 0): _whole(math.floor),
    ("fma", 3): _libm(_fma),
    ("frexp", 0): _frexp,
    ("have_decnum", 0): lambda _meter, _data: True,
    ("have_literal_numbers", 0): lambda _meter, _data: True,
    ("infinite", 0): lambda meter, _data: meter.number(math.inf),
    ("isfinite", 0): lambda _meter, data: math.isfinite(_number(data)),
    ("isinfinite", 0): lambda _meter, data: is_number(data) and math.isinf(data),
    ("isnan", 0): lambda _meter, data: is_number(data) and math.isnan(data),
    ("isnormal", 0): lambda _meter, data: _is_normal(data),
    ("lgamma_r", 0): _lgamma_r,
    ("modf", 0): _modf,
    ("nan", 0): lambda meter, _data: meter.number(math.nan),
    ("nearbyint", 0): _whole(round),
    ("pow", 2): _power,
    ("rint", 0): _whole(round),
    ("round", 0): _whole(_half_away),
    ("trunc", 0): _whole(math.trunc),
}
