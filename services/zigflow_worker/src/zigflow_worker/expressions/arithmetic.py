"""Operators whose cost or result depends on the size of their operands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from zigflow_worker.expressions import engine
from zigflow_worker.expressions.engine import JSON, Builtin, Environment, Filter, JqError
from zigflow_worker.expressions.metering import Meter, current_meter

Operation: TypeAlias = Callable[[JSON, JSON], JSON]


def is_number(value: JSON) -> bool:
    """Return whether `value` is a number; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def add(left: JSON, right: JSON) -> JSON:
    """Return `left + right`."""
    meter = current_meter()
    if isinstance(left, str) and isinstance(right, str):
        meter.count_text(len(left) + len(right))
    elif isinstance(left, (list, dict)) and isinstance(right, (list, dict)):
        meter.count_items(len(left) + len(right))
    return _checked(meter, engine.add_values(left, right))


def subtract(left: JSON, right: JSON) -> JSON:
    """Return `left - right`; lists without each other's items."""
    meter = current_meter()
    if isinstance(left, list) and isinstance(right, list):
        meter.spend(meter.count_value(left) * meter.count_value(right) // 4)
    return _checked(meter, engine.subtract_values(left, right))


def multiply(left: JSON, right: JSON) -> JSON:
    """Return `left * right`; a string that often, maps merged."""
    meter = current_meter()
    text, count = (left, right) if isinstance(left, str) else (right, left)
    if isinstance(text, str) and is_number(count):
        return _repeat(meter, text, count)
    if isinstance(left, dict) and isinstance(right, dict):
        meter.count_value(left)
        meter.count_value(right)
    return _checked(meter, engine.multiply_values(left, right))


def _repeat(meter: Meter, text: str, count: JSON) -> JSON:
    if not isinstance(count, (int, float)) or not count >= 0:
        return None
    size = len(text) * count
    meter.count_text(int(min(size, 2**62)))
    return text * int(count)


def divide(left: JSON, right: JSON) -> JSON:
    """Return `left / right`; a string split at another."""
    meter = current_meter()
    if isinstance(left, str):
        meter.spend(1 + len(left) // 8)
    return _checked(meter, engine.divide_values(left, right))


def modulo(left: JSON, right: JSON) -> JSON:
    """Return `left % right`."""
    return _checked(current_meter(), engine.modulo_values(left, right))


def compared(left: JSON, right: JSON) -> int:
    """Return the order of two values: negative, zero or positive."""
    meter = current_meter()
    if isinstance(left, (list, dict)) and isinstance(right, (list, dict)):
        meter.count_value(left)
        meter.count_value(right)
    return engine.compare(left, right)


def power(base: JSON, exponent: JSON) -> JSON:
    """Return base ** exponent."""
    if not (is_number(base) and is_number(exponent)):
        raise JqError("pow/2: number required")
    meter = current_meter()
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if base.bit_length() * exponent > 4096:
            raise JqError("number is out of range")
        return meter.number(base**exponent)
    try:
        result = float(base) ** float(exponent)  # type: ignore[arg-type]
    except ArithmeticError:
        raise JqError("number is out of range") from None
    if isinstance(result, complex):
        return meter.number(float("nan"))
    return meter.number(result)


def _checked(meter: Meter, result: JSON) -> JSON:
    if isinstance(result, (int, float)) and not isinstance(result, bool):
        return meter.number(result)
    return result


def binary(operation: Operation) -> Builtin:
    """Make an operator a builtin of two filters; the right one varies slowest, as in jq."""

    def builtin(data: JSON, _env: Environment, left: Filter, right: Filter) -> Iterator[JSON]:
        if left.g is not None and right.g is not None:
            yield operation(left.g(data, left.env), right.g(data, right.env))
            return
        for second in right.vals(data):
            for first in left.vals(data):
                yield operation(first, second)

    return builtin


OPERATIONS: dict[str, Operation] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
    "==": lambda left, right: compared(left, right) == 0,
    "!=": lambda left, right: compared(left, right) != 0,
    "<": lambda left, right: compared(left, right) < 0,
    "<=": lambda left, right: compared(left, right) <= 0,
    ">": lambda left, right: compared(left, right) > 0,
    ">=": lambda left, right: compared(left, right) >= 0,
}
OPERATORS: dict[str, Builtin] = {name: binary(operation) for name, operation in OPERATIONS.items()}
