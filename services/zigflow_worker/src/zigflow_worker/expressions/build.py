"""Filters that make values: lists, maps, texts, arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zigflow_worker.expressions import access
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    NOTHING,
    Code,
    Get,
    Scope,
    many,
    one,
    product,
    start,
    turn,
)
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import describe
from zigflow_worker.expressions.values import Operation


def collect(body: Code | None) -> Code:
    """Compile `[body]`."""
    if body is None:
        return one(lambda _data, _scope, _meter: [])
    if body.each is not None:
        return one(_collect_each(*body.each, turn(body)), body)
    get = body.get
    if get is not None:

        def single(data: Any, scope: Scope, meter: Budget) -> list[Any]:
            value = get(data, scope, meter)
            return [] if value is NOTHING else [value]

        return one(single, body, weight=3)
    steps = turn(body)

    def collected(data: Any, scope: Scope, meter: Budget) -> list[Any]:
        found = []
        for value in body.gen(data, scope, meter):
            meter.used += steps
            if meter.used > meter.limit:
                meter.fail()
            found.append(value)
        return found

    return one(collected, body, weight=3)


def _collect_each(get: Get, change: Get | None, maybe: bool, steps: int) -> Get:
    """Collect what becomes of each item of a list or map, which is paid for at once."""

    def collected(data: Any, scope: Scope, meter: Budget) -> list[Any]:
        items = access.items(get(data, scope, meter))
        count = len(items)  # type: ignore[arg-type]
        meter.used += 1 + steps * count
        if meter.used > meter.limit:
            meter.fail()
        if change is None:
            return list(items)
        if not maybe:
            return [change(item, scope, meter) for item in items]
        found = []
        for item in items:
            value = change(item, scope, meter)
            if value is not NOTHING:
                found.append(value)
        return found

    return collected


def list_of(parts: list[Code]) -> Code | None:
    """Compile `[a, b, …]` where each part has one output; None if one has not."""
    getters = [part.single for part in parts if part.single is not None]
    if len(getters) < len(parts):
        return None

    def get(data: Any, scope: Scope, meter: Budget) -> list[Any]:
        return [getter(data, scope, meter) for getter in getters]

    return one(get, *parts, weight=2 + len(parts), height=2)


def construct(pairs: list[tuple[str | Code, Code]]) -> Code:
    """Compile `{key: value, …}`; the first pair varies slowest."""
    parts = [part for pair in pairs for part in pair if isinstance(part, Code)]
    weight = 6 + 4 * len(pairs)
    fixed: list[tuple[str, Get]] = []
    for key, value in pairs:
        if isinstance(key, str) and value.single is not None:
            fixed.append((key, value.single))
    if len(fixed) == len(pairs):
        if len(fixed) in _FEW_PAIRS:
            return one(_FEW_PAIRS[len(fixed)](*fixed), *parts, weight=weight, height=2)

        def get(data: Any, scope: Scope, meter: Budget) -> dict[str, Any]:
            made = {}
            for key, getter in fixed:
                made[key] = getter(data, scope, meter)
            return made

        return one(get, *parts, weight=weight, height=2)
    return _construct_all(pairs, parts, weight)


def _one_pair(pair: tuple[str, Get]) -> Get:
    key, getter = pair
    return lambda data, scope, meter: {key: getter(data, scope, meter)}


def _two_pairs(first: tuple[str, Get], second: tuple[str, Get]) -> Get:
    key, getter = first
    other_key, other = second
    return lambda data, scope, meter: {
        key: getter(data, scope, meter),
        other_key: other(data, scope, meter),
    }


_FEW_PAIRS: dict[int, Callable[..., Get]] = {1: _one_pair, 2: _two_pairs}
"""Makers of getters for maps of a few pairs, which are the most."""


def _construct_all(pairs: list[tuple[str | Code, Code]], parts: list[Code], weight: int) -> Code:
    steps = weight >> 2

    def built(values: list[Any], meter: Budget) -> dict[str, Any]:
        meter.spend(steps)
        made: dict[str, Any] = {}
        rest = iter(values)
        for key, _ in pairs:
            name = key if isinstance(key, str) else next(rest)
            if not isinstance(name, str):
                raise JqError(f"Cannot use {describe(name)} as object key")
            meter.read_text(len(name))
            made[name] = next(rest)
        return made

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[dict[str, Any]]:
        for values in product(parts, data, scope, meter):
            yield built(values, meter)

    getters = [part.single for part in parts if part.single is not None]
    if len(getters) < len(parts):
        return many(gen, *parts, weight=weight, height=2)

    def get(data: Any, scope: Scope, meter: Budget) -> dict[str, Any]:
        return built([getter(data, scope, meter) for getter in getters], meter)

    return one(get, *parts, weight=weight, height=3)


def combined(parts: list[Code], combine: Callable[[Budget, list[Any]], Any], weight: int) -> Code:
    """Compile what is computed of the values of all parts; the last varies slowest."""
    backwards = parts[::-1]
    getters = tuple([part.single for part in backwards if part.single is not None])
    if len(getters) == len(parts):

        def get(data: Any, scope: Scope, meter: Budget) -> Any:
            values = [getter(data, scope, meter) for getter in getters]
            values.reverse()
            return combine(meter, values)

        return one(get, *parts, weight=weight, height=2)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for values in product(backwards, data, scope, meter):
            meter.spend(weight >> 2)
            yield combine(meter, values[::-1])

    return many(gen, *parts, weight=weight, height=2)


def interpolate(parts: list[str | Code], text_of: Callable[[Budget, Any], str]) -> Code:
    """Compile a string with parts."""
    codes = [part for part in parts if isinstance(part, Code)]
    length = sum([len(part) for part in parts if isinstance(part, str)])

    def combine(meter: Budget, values: list[Any]) -> str:
        texts = [text_of(meter, value) for value in values]
        meter.make_text(length + sum(map(len, texts)))
        rest = iter(texts)
        return "".join([part if isinstance(part, str) else next(rest) for part in parts])

    return combined(codes, combine, 2 * len(parts))


def arithmetic(operands: list[Code], operations: list[Operation]) -> Code:
    """Compile operands and the operators between them, computed from the left."""
    if len(operands) == 2:
        return operation(operations[0], *operands)

    def combine(meter: Budget, values: list[Any]) -> Any:
        result = values[0]
        for operate, value in zip(operations, values[1:], strict=True):
            result = operate(meter, result, value)
        return result

    return combined(operands, combine, 2 * len(operands))


def operation(operate: Operation, left: Code, right: Code) -> Code:
    """Compile one operator; its right side is the outer loop."""
    first, second = left.single, right.single
    if first is not None and second is not None:

        def get(data: Any, scope: Scope, meter: Budget) -> Any:
            value = second(data, scope, meter)
            return operate(meter, first(data, scope, meter), value)

        quick = _quick(operate, left, right)
        return one(quick or get, left, right, weight=2, height=2)
    steps = turn(left, right)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in right.gen(data, scope, meter):
            for other in left.gen(data, scope, meter):
                meter.spend(steps)
                yield operate(meter, other, value)

    return many(gen, left, right)


def _quick(operate: Operation, left: Code, right: Code) -> Get | None:
    """Make the getter of the commonest operations: of a name and a constant, or of two names."""
    if left.names is None or len(left.names) > 1:
        return None
    first, constant = left.names[0], right.constant
    if constant is not NOTHING:

        def with_constant(data: Any, _scope: Scope, meter: Budget) -> Any:
            if type(data) is dict:
                return operate(meter, data.get(first), constant)
            return operate(meter, access.index(meter, data, first), constant)

        return with_constant
    if right.names is None or len(right.names) > 1:
        return None
    second = right.names[0]

    def with_names(data: Any, _scope: Scope, meter: Budget) -> Any:
        if type(data) is dict:
            return operate(meter, data.get(first), data.get(second))
        value = access.index(meter, data, second)
        return operate(meter, access.index(meter, data, first), value)

    return with_names


def applied(function: Callable[..., Any], arguments: list[Code]) -> Code:
    """Compile a builtin that computes a value of its input and of its arguments' values."""
    if not arguments:
        return one(lambda data, _scope, meter: function(meter, data), weight=3, height=2)
    getters = [argument.single for argument in arguments]
    first = getters[0]
    if len(arguments) == 1 and first is not None:

        def get(data: Any, scope: Scope, meter: Budget) -> Any:
            return function(meter, data, first(data, scope, meter))

        return one(get, *arguments, weight=3, height=2)
    backwards = arguments[::-1]
    steps = 1 + sum(map(start, arguments))

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for values in product(backwards, data, scope, meter):
            meter.spend(steps)
            yield function(meter, data, *values[::-1])

    if None in getters:
        return many(gen, *arguments, weight=3, height=2)

    def get_all(data: Any, scope: Scope, meter: Budget) -> Any:
        values = [getter(data, scope, meter) for getter in getters[::-1] if getter is not None]
        return function(meter, data, *values[::-1])

    return one(get_all, *arguments, weight=3, height=2)
