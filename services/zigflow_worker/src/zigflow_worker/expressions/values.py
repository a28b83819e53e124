"""Order and equality of values. Numbers are compared as Python does: exactly."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from zigflow_worker.expressions.budget import Budget

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
"""Values that an expression reads and returns."""
Operation: TypeAlias = Callable[[Budget, Any, Any], Any]

_LONG_TEXT = 512
_CONTAINERS = (list, dict)


def is_number(value: Any) -> bool:
    """Return whether `value` is a number; true and false are not."""
    kind = type(value)
    return kind is int or kind is float


def order_key(value: Any) -> tuple[Any, ...]:
    """Return what sorts as jq sorts the value; it recurses, so the value must be weighed."""
    kind = type(value)
    if kind is str:
        return (4, value)
    if kind is int:
        return (3, value)
    if kind is float:
        # NaN sorts before all numbers and equals none, itself included: a new object does that.
        return (3, value) if value == value else (2.5, float("nan"))  # noqa: PLR0124
    if kind is list or kind is dict:
        parts: list[tuple[Any, ...]] = []
        _add_parts(parts, value)
        return (5 if kind is list else 6, parts)
    return (0,) if value is None else (2,) if value else (1,)


def _add_parts(parts: list[tuple[Any, ...]], value: Any) -> None:
    """Add the keys of what is inside a value, in one list: nested ones compare quadratically."""
    if isinstance(value, list):
        parts.append((5,))
        for item in value:
            _add_parts(parts, item)
        parts.append((-1,))
    elif isinstance(value, dict):
        keys = sorted(value)
        parts.append((6, keys))
        for key in keys:
            _add_parts(parts, value[key])
    else:
        parts.append(order_key(value))


def compare(meter: Budget, left: Any, right: Any) -> int:
    """Return the order of two values: negative, zero or positive."""
    if is_number(left) and is_number(right):
        if left < right or left != left:  # noqa: PLR0124
            return -1
        return 0 if left == right else 1
    if isinstance(left, _CONTAINERS) and isinstance(right, _CONTAINERS):
        meter.weigh(left)
        meter.weigh(right)
    elif isinstance(left, str) and isinstance(right, str):
        meter.read_text(min(len(left), len(right)))
    else:
        left, right = _rank(left), _rank(right)
        return -1 if left < right else 0 if left == right else 1
    first, second = order_key(left), order_key(right)
    return -1 if first < second else 0 if first == second else 1


def _rank(value: Any) -> float:
    """Return the place of the type of a value; of those with one, the value alone decides."""
    if isinstance(value, _CONTAINERS):
        return 5 if isinstance(value, list) else 6
    rank: float = order_key(value)[0]
    return 3 if rank == 2.5 else rank


def equal(meter: Budget, left: Any, right: Any) -> bool:
    """Return whether two values are equal; 1 and 1.0 are, 1 and true are not."""
    kind = type(left)
    if kind is type(right):
        if kind is str:
            if len(left) > _LONG_TEXT:
                meter.read_text(min(len(left), len(right)))
        elif kind is list or kind is dict:
            if len(left) != len(right):
                return False
            meter.weigh(left)
            meter.weigh(right)
    return same(left, right)


def same(left: Any, right: Any) -> bool:
    """Return whether two weighed values are equal."""
    kind = type(left)
    if kind is not type(right):
        return is_number(left) and is_number(right) and bool(left == right)
    if kind is list:
        return len(left) == len(right) and all(map(same, left, right))
    if kind is dict:
        if left.keys() != right.keys():
            return False
        return all(same(value, right[key]) for key, value in left.items())
    return bool(left == right)


def not_equal(meter: Budget, left: Any, right: Any) -> bool:
    """Return whether two values differ."""
    return not equal(meter, left, right)


def _ordered(decide: Callable[[Any, Any], bool]) -> Operation:
    """Return the operation of an operator on the order of values."""

    def ordered(meter: Budget, left: Any, right: Any) -> bool:
        kind = type(left)
        if kind is type(right) and (kind is int or (kind is str and len(left) < _LONG_TEXT)):
            return decide(left, right)
        return decide(compare(meter, left, right), 0)

    return ordered


COMPARISONS: dict[str, Operation] = {
    "==": equal,
    "!=": not_equal,
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
}
