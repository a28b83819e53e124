"""Sequences of filters, choices between them, and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    NOTHING,
    Code,
    Get,
    Located,
    Place,
    Scope,
    many,
    no_paths,
    one,
    optional,
    start,
    turn,
)
from zigflow_worker.expressions.errors import CATCHABLE, Break, caught_value
from zigflow_worker.expressions.steps import CAUGHT


def is_true(value: Any) -> bool:
    """Return whether a condition holds: only null and false do not."""
    return value is not None and value is not False


def identity() -> Code:
    """Compile `.`."""
    return Code(
        lambda data, _scope, _meter: (data,),
        lambda data, place, _scope, _meter: ((place, data),),
        get=lambda data, _scope, _meter: data,
        weight=0,
    )


def constant(value: Any) -> Code:
    """Compile a value that is written down; nothing changes it."""
    code = one(lambda _data, _scope, _meter: value, weight=0)
    code.constant = value
    return code


def pipe(parts: list[Code]) -> Code:
    """Compile `a | b | …`; stages with one output are run in one go."""
    stages: list[Code] = []
    for part in parts:
        if part.get is not None and stages and stages[-1].get is not None:
            stages[-1] = _getters(stages[-1], part)
        else:
            stages.append(part)
    code = stages[-1]
    for stage in reversed(stages[:-1]):
        code = _pipe2(stage, code)
    if len(parts) > 1:
        code.paths = reduce(_pipe_paths, [part.paths for part in parts[1:]], parts[0].paths)
        code.height = max(code.height, 2 * len(parts))
    return code


class _Chain(Code):
    """Getters run one after the other."""

    __slots__ = ("chain",)

    chain: list[Get]


def _getters(first: Code, second: Code) -> Code:
    """Join two stages that have one output at most."""
    getters = [_getter(first), _getter(second)]
    if isinstance(first, _Chain):
        getters = [*first.chain, getters[1]]
    get = _run_all(tuple(getters), maybe=first.maybe or second.maybe)
    make = optional if first.maybe or second.maybe else one
    made = make(get, first, second)
    code = _Chain(made.gen, get=get, maybe=made.maybe, weight=made.weight, height=made.height)
    code.height = 2 + max(first.height, second.height)
    code.chain = getters
    return code


def _getter(code: Code) -> Get:
    assert code.get is not None  # noqa: S101 - for the type checker
    return code.get


def _run_all(getters: tuple[Get, ...], *, maybe: bool) -> Get:
    if len(getters) == 2 and not maybe:
        first, second = getters
        return lambda data, scope, meter: second(first(data, scope, meter), scope, meter)

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        for getter in getters:
            data = getter(data, scope, meter)
            if data is NOTHING:
                return NOTHING
        return data

    return get


def _pipe2(left: Code, right: Code) -> Code:
    steps = turn(left, right)
    run = right.gen

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in left.gen(data, scope, meter):
            meter.used += steps
            if meter.used > meter.limit:
                meter.fail()
            yield from run(value, scope, meter)

    get, after = left.get, right.get
    if get is not None:
        if left.maybe:
            return many(_behind_optional(get, run), left, right)
        return many(
            lambda data, scope, meter: run(get(data, scope, meter), scope, meter), left, right
        )
    if after is None:
        return many(gen, left, right)

    def mapped(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in left.gen(data, scope, meter):
            meter.used += steps
            if meter.used > meter.limit:
                meter.fail()
            output = after(value, scope, meter)
            if output is not NOTHING:
                yield output

    code = many(mapped, left, right)
    if left.each is not None:
        inner = left.each[1]
        maybe = left.each[2] or right.maybe
        body = after if inner is None else _run_all((inner, after), maybe=maybe)
        code.each = (left.each[0], body, maybe)
    return code


def _behind_optional(get: Get, run: Callable[..., Iterable[Any]]) -> Any:
    def gen(data: Any, scope: Scope, meter: Budget) -> Iterable[Any]:
        value = get(data, scope, meter)
        return () if value is NOTHING else run(value, scope, meter)

    return gen


def _pipe_paths(left: Any, right: Any) -> Any:
    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        for inner, value in left(data, place, scope, meter):
            meter.spend(1)
            yield from right(value, inner, scope, meter)

    return paths


def comma(parts: list[Code]) -> Code:
    """Compile `a, b, …`."""
    gens = [part.gen for part in parts]
    modes = [part.paths for part in parts]

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for run in gens:
            yield from run(data, scope, meter)

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        for run in modes:
            yield from run(data, place, scope, meter)

    return many(gen, *parts, paths=paths)


def choose(condition: Code, then: Code, otherwise: Code) -> Code:
    """Compile `if condition then … else … end`."""
    steps = turn(condition, then, otherwise)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for outcome in condition.gen(data, scope, meter):
            meter.spend(steps)
            yield from (then if is_true(outcome) else otherwise).gen(data, scope, meter)

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        for outcome in condition.gen(data, scope, meter):
            meter.spend(steps)
            branch = then if is_true(outcome) else otherwise
            yield from branch.paths(data, place, scope, meter)

    test, yes, no = condition.single, then.get, otherwise.get
    if test is None:
        return many(gen, condition, then, otherwise, paths=paths)
    if yes is None or no is None:

        def branched(data: Any, scope: Scope, meter: Budget) -> Iterable[Any]:
            outcome = test(data, scope, meter)
            branch = otherwise if outcome is None or outcome is False else then
            return branch.gen(data, scope, meter)

        return many(branched, condition, then, otherwise, paths=paths)

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        outcome = test(data, scope, meter)
        if outcome is None or outcome is False:
            return no(data, scope, meter)
        return yes(data, scope, meter)

    make = optional if then.maybe or otherwise.maybe else one
    return make(get, condition, then, otherwise, paths=paths)


def select(condition: Code) -> Code:
    """Compile `select(condition)`."""
    return choose(condition, identity(), empty())


def empty() -> Code:
    """Compile `empty`."""
    return optional(
        lambda _data, _scope, _meter: NOTHING,
        paths=lambda _data, _place, _scope, _meter: (),
    )


def logic(parts: list[Code], *, ends: bool) -> Code:
    """Compile `a and b and …` (which false ends) or `a or b or …` (which true ends)."""
    tests = [part.single for part in parts]
    getters = tuple([test for test in tests if test is not None])
    if len(getters) < len(tests):
        return reduce(lambda left, right: _logic2(left, right, ends=ends), parts)

    def get(data: Any, scope: Scope, meter: Budget) -> bool:
        for getter in getters:
            value = getter(data, scope, meter)
            if (value is not None and value is not False) is ends:
                return ends
        return not ends

    return one(get, *parts)


def _logic2(left: Code, right: Code, *, ends: bool) -> Code:
    steps = turn(left, right)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[bool]:
        for first in left.gen(data, scope, meter):
            meter.spend(steps)
            if is_true(first) is ends:
                yield ends
                continue
            for second in right.gen(data, scope, meter):
                yield is_true(second)

    return many(gen, left, right)


def alternatives(parts: list[Code]) -> Code:
    """Compile `a // b // …`: the true outputs of the first that has any, else the last's."""
    *tried, last = parts
    steps = turn(parts[0])

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for part in tried:
            found = False
            for value in part.gen(data, scope, meter):
                meter.spend(steps)
                if value is not None and value is not False:
                    found = True
                    yield value
            if found:
                return
        yield from last.gen(data, scope, meter)

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        for part in tried:
            found = False
            for located in part.paths(data, place, scope, meter):
                meter.spend(steps)
                if is_true(located[1]):
                    found = True
                    yield located
            if found:
                return
        yield from last.paths(data, place, scope, meter)

    getters = tuple([part.get for part in parts if part.get is not None])
    if len(getters) < len(parts):
        return many(gen, *parts, paths=paths)

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        value = None
        for getter in getters:
            value = getter(data, scope, meter)
            if value is not None and value is not False and value is not NOTHING:
                break
        return value

    return (optional if last.maybe else one)(get, *parts, paths=paths)


def attempt(body: Code, handler: Code | None) -> Code:
    """Compile `try body catch handler`; without a handler an error ends the outputs."""
    after = handler or empty()

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        height = meter.height
        try:
            yield from body.gen(data, scope, meter)
            return
        except CATCHABLE as error:
            value = _caught(error, height, meter)
        yield from after.gen(value, scope, meter)

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        height = meter.height
        try:
            yield from body.paths(data, place, scope, meter)
            return
        except CATCHABLE as error:
            value = _caught(error, height, meter)
        yield from after.paths(value, None, scope, meter)

    run, handle = body.get, after.get
    if run is None or handle is None:
        return many(gen, body, after, paths=paths)

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        height = meter.height
        try:
            return run(data, scope, meter)
        except CATCHABLE as error:
            value = _caught(error, height, meter)
        return handle(value, scope, meter)

    return (optional if body.maybe or after.maybe else one)(get, body, after, paths=paths)


def _caught(error: Exception, height: int, meter: Budget) -> Any:
    value = caught_value(error)
    meter.height = height
    meter.spend(CAUGHT)
    return value


def label(body: Code) -> Code:
    """Compile `label $name | body`; its token is the innermost value bound in `body`."""

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        token, height = object(), meter.height
        try:
            yield from body.gen(data, (token, scope), meter)
        except Break as left:
            if left.label is not token:
                raise
            meter.height = height
            meter.spend(CAUGHT)

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        token, height = object(), meter.height
        try:
            yield from body.paths(data, place, (token, scope), meter)
        except Break as left:
            if left.label is not token:
                raise
            meter.height = height
            meter.spend(CAUGHT)

    return many(gen, body, paths=paths)


def break_out(distance: int) -> Code:
    """Compile `break $name`."""
    find = bound_value(distance)

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        raise Break(find(data, scope, meter))

    return raising(get)


def raising(get: Get) -> Code:
    """Make a filter that never has an output, but an error."""

    def paths(data: Any, _place: Place, scope: Scope, meter: Budget) -> Iterable[Located]:
        get(data, scope, meter)
        return ()

    return one(get, paths=paths)


def bound_value(distance: int) -> Get:
    """Return the getter of a bound value, so many bindings out."""
    if distance == 0:
        return lambda _data, scope, _meter: scope[0]
    if distance == 1:
        return lambda _data, scope, _meter: scope[1][0]

    def get(_data: Any, scope: Scope, _meter: Budget) -> Any:
        for _ in range(distance):
            scope = scope[1]
        return scope[0]

    return get


def given_variable(distance: int, name: str) -> Get:
    """Return the getter of a variable of the evaluation, below all bindings."""
    if distance == 0:
        return lambda _data, scope, _meter: scope[name]

    def get(_data: Any, scope: Scope, _meter: Budget) -> Any:
        for _ in range(distance):
            scope = scope[1]
        return scope[name]

    return get


def outer(scope: Scope, distance: int) -> Scope:
    """Return the scope so many bindings out."""
    for _ in range(distance):
        scope = scope[1]
    return scope


__all__ = [
    "alternatives",
    "attempt",
    "bound_value",
    "break_out",
    "choose",
    "comma",
    "constant",
    "empty",
    "given_variable",
    "identity",
    "is_true",
    "label",
    "logic",
    "no_paths",
    "outer",
    "pipe",
    "raising",
    "select",
    "start",
]
