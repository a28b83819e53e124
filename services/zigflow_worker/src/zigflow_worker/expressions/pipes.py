"""Sequences of filters, each on the outputs of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def empty() -> Code:
    """Compile `empty`."""
    return optional(
        lambda _data, _scope, _meter: NOTHING,
        paths=lambda _located, _scope, _meter: (),
    )


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
