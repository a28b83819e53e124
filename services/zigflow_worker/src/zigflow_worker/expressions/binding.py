"""Patterns at work: values taken apart and bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from zigflow_worker.expressions import access
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import Code, Located, Place, Scope, many, one, optional, turn
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
        for match in self.matches:
            try:
                for inner in match(value, scope, meter):
                    yield from body(inner)
                return
            except CATCHABLE as error:
                if match is self.matches[-1]:
                    raise
                caught_value(error)
                meter.height = height
                meter.spend(10)


def bind(source: Code, binder: Binder, body: Code) -> Code:
    """Compile `source as patterns | body`."""
    steps = turn(source, body)
    get, then = source.single, body.get
    if binder.is_plain and get is not None and then is not None:

        def bound(data: Any, scope: Scope, meter: Budget) -> Any:
            return then(data, (get(data, scope, meter), scope), meter)

        code = (optional if body.maybe else one)(bound, source, body)
    elif binder.is_plain:
        code = many(_plain(source, body, steps), source, body)
    else:
        code = many(_patterned(source, binder, body, steps), source, body)
        code.height += binder.height

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        for value in source.gen(data, scope, meter):
            meter.spend(steps)
            yield from binder.run(
                value, scope, meter, lambda inner: body.paths(data, place, inner, meter)
            )

    code.paths = paths
    return code


def _plain(source: Code, body: Code, steps: int) -> Any:
    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in source.gen(data, scope, meter):
            meter.used += steps
            if meter.used > meter.limit:
                meter.fail()
            yield from body.gen(data, (value, scope), meter)

    return gen


def _patterned(source: Code, binder: Binder, body: Code, steps: int) -> Any:
    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in source.gen(data, scope, meter):
            meter.spend(steps)
            yield from binder.run(value, scope, meter, lambda inner: body.gen(data, inner, meter))

    return gen


class _State:
    """The state of a fold, and its place while it is a path."""

    __slots__ = ("place", "value")

    def __init__(self, value: Any, place: Place = None) -> None:
        self.value = value
        self.place = place


def fold_reduce(source: Code, binder: Binder, begin: Code, update: Code) -> Code:
    """Compile `reduce source as patterns (begin; update)`."""
    steps = turn(source, update)
    last = _last_of(update)

    def change(state: _State, inner: Scope, meter: Budget) -> Iterable[Any]:
        state.value = last(state.value, inner, meter)
        return ()

    def folded(data: Any, scope: Scope, meter: Budget, value: Any) -> Any:
        if binder.is_plain:
            for item in source.gen(data, scope, meter):
                meter.used += steps
                if meter.used > meter.limit:
                    meter.fail()
                value = last(value, (item, scope), meter)
            return value
        state = _State(value)
        for item in source.gen(data, scope, meter):
            meter.spend(steps)
            for _ in binder.run(item, scope, meter, lambda inner: change(state, inner, meter)):
                pass
        return state.value

    get = begin.single
    if get is not None:

        def reduced(data: Any, scope: Scope, meter: Budget) -> Any:
            return folded(data, scope, meter, get(data, scope, meter))

        code = one(reduced, source, begin, update, height=4)
    else:

        def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
            for value in begin.gen(data, scope, meter):
                meter.spend(1)
                yield folded(data, scope, meter, value)

        code = many(gen, source, begin, update)
    code.height += binder.height
    code.paths = _reduced_paths(source, binder, begin, update)
    return code


def _last_of(update: Code) -> Any:
    """Return what computes the last output of `update`, null if there is none."""
    if update.single is not None:
        return update.single

    def last(data: Any, scope: Scope, meter: Budget) -> Any:
        found = None
        for value in update.gen(data, scope, meter):
            meter.spend(1)
            found = value
        return found

    return last


def _reduced_paths(source: Code, binder: Binder, begin: Code, update: Code) -> Any:
    steps = turn(source, update)

    def change(state: _State, inner: Scope, meter: Budget) -> Iterable[Any]:
        value, place = state.value, state.place
        state.value, state.place = None, None
        for state.place, state.value in update.paths(value, place, inner, meter):
            meter.spend(1)
        return ()

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        for where, value in begin.paths(data, place, scope, meter):
            state = _State(value, where)
            for item in source.gen(data, scope, meter):
                meter.spend(steps)
                for _ in binder.run(item, scope, meter, lambda s: change(state, s, meter)):  # noqa: B023
                    pass
            yield state.place, state.value

    return paths


def fold_foreach(
    source: Code, binder: Binder, begin: Code, update: Code, extract: Code | None
) -> Code:
    """Compile `foreach source as patterns (begin; update; extract)`."""
    parts = [source, begin, update, *([extract] if extract else [])]
    steps = turn(source, *parts[2:])

    def change(state: _State, inner: Scope, meter: Budget) -> Iterator[Any]:
        before, state.value = state.value, None
        for value in update.gen(before, inner, meter):
            meter.spend(1)
            state.value = value
            if extract is None:
                yield value
            else:
                yield from extract.gen(value, inner, meter)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in begin.gen(data, scope, meter):
            state = _State(value)
            for item in source.gen(data, scope, meter):
                meter.spend(steps)
                if binder.is_plain:
                    yield from change(state, (item, scope), meter)
                    continue
                yield from binder.run(item, scope, meter, lambda s: change(state, s, meter))  # noqa: B023

    code = many(gen, *parts)
    code.height += binder.height + 2
    return code
