"""Sequences of filters, choices between them, and errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    NOTHING,
    Code,
    Gen,
    Get,
    Located,
    Mode,
    Paths,
    Scope,
    duplex,
    many,
    one,
    optional,
    turn,
)


def is_true(value: Any) -> bool:
    """Return whether a condition holds: only null and false do not."""
    return value is not None and value is not False


def identity() -> Code:
    """Compile `.`."""
    return Code(
        lambda data, _scope, _meter: (data,),
        lambda located, _scope, _meter: (located,),
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
        modes = [part.paths for part in parts]
        code.paths = lambda located, scope, meter: _staged(modes, located, scope, meter)
    return code


def _staged(modes: list[Paths], located: Located, scope: Scope, meter: Budget) -> Iterator[Located]:
    """Run stages without standing on each other's frames."""
    running = [iter(modes[0](located, scope, meter))]
    while running:
        found = next(running[-1], None)
        if found is None:
            running.pop()
            continue
        meter.spend(1)
        if len(running) == len(modes):
            yield found
        else:
            running.append(iter(modes[len(running)](found, scope, meter)))


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
    own = first.height if isinstance(first, _Chain) else 1 + first.height
    code.height = max(own, 1 + second.height)
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
    """Join two stages of which one at least has any number of outputs."""
    run, get, after = right.gen, left.get, right.get
    if get is not None:
        gen = _behind_optional(get, run) if left.maybe else _behind(get, run)
        return many(gen, left, right)
    if after is None:
        return many(_joined(left, right), left, right)
    code = many(_mapped(left, right, after), left, right)
    if left.each is not None:
        inner = left.each[1]
        maybe = left.each[2] or right.maybe
        body = after if inner is None else _run_all((inner, after), maybe=maybe)
        code.each = (left.each[0], body, maybe)
    return code


def _joined(left: Code, right: Code) -> Gen:
    steps, run = turn(left, right), right.gen

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in left.gen(data, scope, meter):
            meter.used += steps
            if meter.used > meter.limit:
                meter.fail()
            yield from run(value, scope, meter)

    return gen


def _mapped(left: Code, right: Code, after: Get) -> Gen:
    steps = turn(left, right)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in left.gen(data, scope, meter):
            meter.used += steps
            if meter.used > meter.limit:
                meter.fail()
            output = after(value, scope, meter)
            if output is not NOTHING:
                yield output

    return gen


def _behind(get: Get, run: Gen) -> Gen:
    return lambda data, scope, meter: run(get(data, scope, meter), scope, meter)


def _behind_optional(get: Get, run: Gen) -> Gen:
    def gen(data: Any, scope: Scope, meter: Budget) -> Iterable[Any]:
        value = get(data, scope, meter)
        return () if value is NOTHING else run(value, scope, meter)

    return gen


def comma(parts: list[Code]) -> Code:
    """Compile `a, b, …`."""

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for part in parts:
            yield from mode.of(part)(item, scope, meter)

    return duplex(run, *parts)


def choose(condition: Code, then: Code, otherwise: Code) -> Code:
    """Compile `if condition then … else … end`."""
    steps = turn(condition, then, otherwise)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for outcome in condition.gen(mode.value(item), scope, meter):
            meter.spend(steps)
            branch = then if is_true(outcome) else otherwise
            yield from mode.of(branch)(item, scope, meter)

    code = duplex(run, condition, then, otherwise)
    test, yes, no = condition.single, then.get, otherwise.get
    if test is None:
        return code
    if yes is None or no is None:

        def branched(data: Any, scope: Scope, meter: Budget) -> Iterable[Any]:
            branch = then if is_true(test(data, scope, meter)) else otherwise
            return branch.gen(data, scope, meter)

        code.gen = branched
        return code

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        outcome = test(data, scope, meter)
        if outcome is None or outcome is False:
            return no(data, scope, meter)
        return yes(data, scope, meter)

    make = optional if then.maybe or otherwise.maybe else one
    return make(get, condition, then, otherwise, paths=code.paths)


def choose_first(branches: list[tuple[Code, Code]], otherwise: Code) -> Code:
    """Compile `if … then … elif … else … end`."""
    code = otherwise
    for test, then in reversed(branches):
        code = choose(test, then, code)
    pairs = [(test.single, then.get) for test, then in branches]
    last = otherwise.get
    if len(branches) == 1 or code.get is None or last is None:
        return code

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        for test, then in pairs:
            outcome = test(data, scope, meter)  # type: ignore[misc]
            if outcome is not None and outcome is not False:
                return then(data, scope, meter)  # type: ignore[misc]
        return last(data, scope, meter)

    parts = [part for pair in branches for part in pair]
    made = (optional if code.maybe else one)(get, otherwise, *parts, paths=code.paths)
    made.height = max(made.height, code.height)
    return made


def select(condition: Code) -> Code:
    """Compile `select(condition)`."""
    return choose(condition, identity(), empty())


def empty() -> Code:
    """Compile `empty`."""
    return optional(
        lambda _data, _scope, _meter: NOTHING,
        paths=lambda _located, _scope, _meter: (),
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

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for part in tried:
            found = False
            for output in mode.of(part)(item, scope, meter):
                meter.spend(steps)
                if is_true(mode.value(output)):
                    found = True
                    yield output
            if found:
                return
        yield from mode.of(last)(item, scope, meter)

    code = duplex(run, *parts)
    getters = tuple([part.get for part in parts if part.get is not None])
    if len(getters) < len(parts):
        return code
    make = optional if last.maybe else one
    return make(_first_true(getters), *parts, paths=code.paths)


def _first_true(getters: tuple[Get, ...]) -> Get:
    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        value = None
        for getter in getters:
            value = getter(data, scope, meter)
            if value is not None and value is not False and value is not NOTHING:
                break
        return value

    return get


def bound_value(distance: int) -> Get:
    """Return the getter of a bound value, so many bindings out."""
    if distance == 0:
        return lambda _data, scope, _meter: scope[0]
    if distance == 1:
        return lambda _data, scope, _meter: scope[1][0]
    return lambda _data, scope, _meter: outer(scope, distance)[0]


def given_variable(distance: int, name: str) -> Get:
    """Return the getter of a variable of the evaluation, below all bindings."""
    if distance == 0:
        return lambda _data, scope, _meter: scope[name]
    return lambda _data, scope, _meter: outer(scope, distance)[name]


def outer(scope: Scope, distance: int) -> Scope:
    """Return the scope so many bindings out."""
    for _ in range(distance):
        scope = scope[1]
    return scope
