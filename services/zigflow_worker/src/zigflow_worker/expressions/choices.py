"""Choices between filters: conditions, `and`, `or`, and alternatives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    NOTHING,
    Code,
    Get,
    Mode,
    Scope,
    duplex,
    many,
    one,
    optional,
    turn,
)
from zigflow_worker.expressions.pipes import empty, identity


def is_true(value: Any) -> bool:
    """Return whether a condition holds: only null and false do not."""
    return value is not None and value is not False


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
