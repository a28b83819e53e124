"""The operators of arithmetic, paid for by the size of their operands."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from zigflow_worker.expressions.budget import MAP_ITEM, Budget
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import describe
from zigflow_worker.expressions.values import Operation, equal, is_number

_BOUND = 1 << 1023
"""Integers are exact below it; beyond they become doubles, which may be infinite."""
_LARGEST_INTEGER, _SMALLEST_INTEGER = 2**63 - 1, -(2**63)
_MAX_REPEATED = 2**31 - 1


def bounded(meter: Budget, value: int) -> int | float:
    """Return an integer in the range that is exact, or the nearest double."""
    if -_BOUND < value < _BOUND:
        return value
    try:
        return float(value)
    except OverflowError:
        return meter.number(math.inf if value > 0 else -math.inf)


def _refuse(left: Any, right: Any, what: str) -> NoReturn:
    raise JqError(f"{describe(left)} and {describe(right)} cannot be {what}")


def add(meter: Budget, left: Any, right: Any) -> Any:
    """Return `left + right`."""
    kind, other = type(left), type(right)
    if kind is int and other is int:
        value = left + right
        return value if -_BOUND < value < _BOUND else bounded(meter, value)
    if kind is other and kind in _JOINED:
        return _JOINED[kind](meter, left, right)
    if (kind is float and (other is float or other is int)) or (kind is int and other is float):
        value = left + right
        if value - value != 0:
            meter.non_finite = True
        return value
    if left is None or right is None:
        return right if left is None else left
    _refuse(left, right, "added")


def _join_texts(meter: Budget, left: str, right: str) -> str:
    meter.make_text(len(left) + len(right))
    return left + right


def _join_lists(meter: Budget, left: list[Any], right: list[Any]) -> list[Any]:
    meter.make_items((len(left) + len(right)) // 2)
    whole = left + right
    meter.joined(whole, left, right)
    return whole


def _join_maps(meter: Budget, left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    meter.make_items(MAP_ITEM * (len(left) + len(right)))
    meter.read_text(sum(map(len, right)))
    return left | right


_JOINED: dict[type, Operation] = {str: _join_texts, list: _join_lists, dict: _join_maps}


def subtract(meter: Budget, left: Any, right: Any) -> Any:
    """Return `left - right`; lists without each other's items."""
    if is_number(left) and is_number(right):
        value = left - right
        return bounded(meter, value) if type(value) is int else meter.number(value)
    if isinstance(left, list) and isinstance(right, list):
        return _without(meter, left, right)
    _refuse(left, right, "subtracted")


def _without(meter: Budget, items: list[Any], unwanted: list[Any]) -> list[Any]:
    meter.weigh(items)
    meter.weigh(unwanted)
    meter.make_items(len(items))
    simple = {_hashed(item) for item in unwanted if not isinstance(item, (list, dict))}
    deep = [item for item in unwanted if isinstance(item, (list, dict))]
    kept = []
    for item in items:
        if not isinstance(item, (list, dict)):
            if _hashed(item) not in simple:
                kept.append(item)
            continue
        meter.spend(len(deep))
        if not any(equal(meter, item, other) for other in deep):
            kept.append(item)
    return kept


def _hashed(value: Any) -> tuple[bool, Any]:
    """Return a scalar so that 1 and true differ and no NaN equals another."""
    if value != value:  # noqa: PLR0124
        value = object()
    return isinstance(value, bool), value


def multiply(meter: Budget, left: Any, right: Any) -> Any:
    """Return `left * right`; a string that often, maps merged."""
    kind, other = type(left), type(right)
    if kind is int and other is int:
        value = left * right
        return value if -_BOUND < value < _BOUND else bounded(meter, value)
    if (kind is float and (other is float or other is int)) or (kind is int and other is float):
        value = left * right
        if value - value != 0:
            meter.non_finite = True
        return value
    if kind is str and is_number(right):
        return _repeat(meter, left, right)
    if other is str and is_number(left):
        return _repeat(meter, right, left)
    if kind is dict and other is dict:
        meter.weigh(left)
        meter.weigh(right)
        return _merge(meter, left, right)
    _refuse(left, right, "multiplied")


def _merge(meter: Budget, left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    meter.make_items(MAP_ITEM * (len(left) + len(right)))
    merged = left.copy()
    for key, value in right.items():
        present = merged.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merged[key] = _merge(meter, present, value)
        else:
            merged[key] = value
    return merged


def _repeat(meter: Budget, text: str, count: float) -> str | None:
    if not count >= 0:
        return None
    size = len(text) * count
    if size > _MAX_REPEATED:
        raise JqError("Repeat string result too long")
    if not text:
        return text
    meter.make_text(int(size))
    return text * int(count)


def divide(meter: Budget, left: Any, right: Any) -> Any:
    """Return `left / right`; a string split at another."""
    if is_number(left) and is_number(right):
        if right == 0:
            _refuse(left, right, "divided because the divisor is zero")
        if type(left) is int and type(right) is int:
            whole, rest = divmod(left, right)
            return whole if not rest else left / right
        return meter.number(left / right)
    if isinstance(left, str) and isinstance(right, str):
        return split(meter, left, right)
    _refuse(left, right, "divided")


def split(meter: Budget, text: str, separator: str) -> list[str]:
    """Return the parts of a text between separators, its characters if that is empty."""
    meter.read_text(len(text))
    if not separator:
        meter.make_items(8 * len(text))
        return list(text)
    meter.make_text(len(text))
    meter.make_items(8 * text.count(separator))
    return text.split(separator) if text else []


def modulo(meter: Budget, left: Any, right: Any) -> Any:
    """Return `left % right` of the whole parts, with the sign of `left`."""
    if not (is_number(left) and is_number(right)):
        _refuse(left, right, "divided (remainder)")
    if left != left or right != right:  # noqa: PLR0124
        return meter.number(math.nan)
    dividend, divisor = _whole(left), abs(_whole(right))
    if divisor == 0:
        _refuse(left, right, "divided (remainder) because the divisor is zero")
    rest = abs(dividend) % divisor
    return rest if dividend >= 0 else -rest


def _whole(value: float) -> int:
    if isinstance(value, int):
        return value
    if value >= _LARGEST_INTEGER:
        return _LARGEST_INTEGER
    return _SMALLEST_INTEGER if value <= _SMALLEST_INTEGER else int(value)


def negate(value: Any) -> Any:
    """Return `-value`."""
    if not is_number(value):
        raise JqError(f"{describe(value)} cannot be negated")
    return -value


OPERATIONS: dict[str, Operation] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
}
