"""Patterns at work: values taken apart and bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

from zigflow_worker.expressions import access
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    VALUES,
    Code,
    Get,
    Mode,
    Scope,
    duplex,
    one,
    optional,
    turn,
)
from zigflow_worker.expressions.errors import CATCHABLE, JqError, caught_value
from zigflow_worker.expressions.printing import describe

Match: TypeAlias = Callable[[Any, Scope, Budget], Iterable[Scope]]
"""Yields the scope with the variables of a pattern bound, once for each output of its keys."""


def match_variable(value: Any, scope: Scope, _meter: Budget) -> Iterable[Scope]:
    """Bind a value whole."""
    return ((value, scope),)


def match_all(parts: list[tuple[Code, Match]]) -> Match:
    """Make the match of a list or map: each part has a key, and the match of what is there."""

    def run(number: int, value: Any, scope: Scope, meter: Budget) -> Iterator[Scope]:
        key, match = parts[number]
        for wanted in key.gen(value, scope, meter):
            meter.spend(1)
            if isinstance(value, dict) and not isinstance(wanted, str):
                raise JqError(f"Cannot use {describe(wanted)} as object key")
            for inner in match(access.index(meter, value, wanted), scope, meter):
                if number + 1 == len(parts):
                    yield inner
                else:
                    yield from run(number + 1, value, inner, meter)

    return lambda value, scope, meter: run(0, value, scope, meter)


def match_both(first: Match, second: Match) -> Match:
    """Bind a value by two patterns, one after the other."""

    def match(value: Any, scope: Scope, meter: Budget) -> Iterator[Scope]:
        for inner in first(value, scope, meter):
            yield from second(value, inner, meter)

    return match


def rearranged(match: Match, distances: list[int | None]) -> Match:
    """Bind only the variables at these distances, null where there is none."""

    def rearrange(value: Any, scope: Scope, meter: Budget) -> Iterator[Scope]:
        for inner in match(value, scope, meter):
            result = scope
            for distance in distances:
                found, bound = None, inner
                if distance is not None:
                    for _ in range(distance):
                        bound = bound[1]
                    found = bound[0]
                result = (found, result)
            yield result

    return rearrange


class Binder:
    """The patterns of an `as`, of which the first that leads to no error is used."""

    __slots__ = ("height", "is_plain", "matches")

    def __init__(self, matches: list[Match], height: int) -> None:
        self.matches = matches
        self.is_plain = matches == [match_variable]
        self.height = height

    def run(
        self, value: Any, scope: Scope, meter: Budget, body: Callable[[Scope], Iterable[Any]]
    ) -> Iterator[Any]:
        """Yield what `body` makes of each scope."""
        height = meter.height
        if self.is_plain:
            yield from body((value, scope))
            return
        for match in self.matches:
            try:
                for inner in match(value, scope, meter):
                    yield from body(inner)
                return  # noqa: TRY300 - the body is inside on purpose
            except CATCHABLE as error:
                if match is self.matches[-1]:
                    raise
                caught_value(error)
                meter.height = height
                meter.spend(10)


def bind(source: Code, binder: Binder, body: Code) -> Code:
    """Compile `source as patterns | body`."""
    steps = turn(source, body)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        run_body = mode.of(body)
        for value in source.gen(mode.value(item), scope, meter):
            meter.spend(steps)
            if binder.is_plain:
                yield from run_body(item, (value, scope), meter)
            else:
                yield from binder.run(value, scope, meter, lambda s: run_body(item, s, meter))

    code = duplex(run, source, body)
    code.height += binder.height
    get, then = source.single, body.get
    if not binder.is_plain or get is None or then is None:
        return code

    def bound(data: Any, scope: Scope, meter: Budget) -> Any:
        return then(data, (get(data, scope, meter), scope), meter)

    return (optional if body.maybe else one)(bound, source, body, paths=code.paths)


class _State:
    """The state of a fold."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item


def _nothing_of(mode: Mode) -> Any:
    return None if mode is VALUES else (None, None)


def fold_reduce(source: Code, binder: Binder, begin: Code, update: Code) -> Code:
    """Compile `reduce source as patterns (begin; update)`."""
    steps = turn(source, update)

    def change(mode: Mode, state: _State, inner: Scope, meter: Budget) -> Iterator[Any]:
        before, state.item = state.item, _nothing_of(mode)
        for state.item in mode.of(update)(before, inner, meter):
            meter.spend(1)
        yield from ()

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for first in mode.of(begin)(item, scope, meter):
            state = _State(first)
            body = partial(change, mode, state, meter=meter)
            for value in source.gen(mode.value(item), scope, meter):
                meter.spend(steps)
                for _ in binder.run(value, scope, meter, body):
                    pass
            yield state.item

    code = duplex(run, source, begin, update)
    code.height += binder.height + 2
    get, last = begin.single, update.single
    if not binder.is_plain or get is None or last is None:
        return code

    reduced = _reduced(source, get, last, steps)
    return one(reduced, source, begin, update, paths=code.paths, height=4)


def _reduced(source: Code, get: Get, last: Get, steps: int) -> Get:
    def reduced(data: Any, scope: Scope, meter: Budget) -> Any:
        value = get(data, scope, meter)
        for item in source.gen(data, scope, meter):
            meter.used += steps
            if meter.used > meter.limit:
                meter.fail()
            value = last(value, (item, scope), meter)
        return value

    return reduced


def fold_foreach(
    source: Code, binder: Binder, begin: Code, update: Code, extract: Code | None
) -> Code:
    """Compile `foreach source as patterns (begin; update; extract)`."""
    parts = [source, begin, update, *([extract] if extract else [])]
    steps = turn(source, *parts[2:])

    def change(mode: Mode, state: _State, inner: Scope, meter: Budget) -> Iterator[Any]:
        before, state.item = state.item, _nothing_of(mode)
        for output in mode.of(update)(before, inner, meter):
            meter.spend(1)
            state.item = output
            if extract is None:
                yield output
            else:
                yield from mode.of(extract)(output, inner, meter)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for first in mode.of(begin)(item, scope, meter):
            state = _State(first)
            body = partial(change, mode, state, meter=meter)
            for value in source.gen(mode.value(item), scope, meter):
                meter.spend(steps)
                yield from binder.run(value, scope, meter, body)

    code = duplex(run, *parts)
    code.height += binder.height + 3
    return code
