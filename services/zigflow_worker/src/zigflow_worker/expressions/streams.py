"""Builtins that loop: without recursion, and counting every turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import TypeVar

from zigflow_worker.expressions.arithmetic import is_number
from zigflow_worker.expressions.engine import (
    JSON,
    Builtin,
    Environment,
    Filter,
    JqError,
    Key,
    Located,
    Path,
    PathBuiltin,
    describe,
    iterate,
)
from zigflow_worker.expressions.errors import ExpressionError
from zigflow_worker.expressions.metering import current_meter

MAX_PENDING = 10_000
"""Alternatives a search may have open; jq would recurse as deep."""
T = TypeVar("T")


def truthy(value: JSON) -> bool:
    """Return whether a condition holds: all but false and null do."""
    return value is not None and value is not False


def unfold(start: T, grow: Callable[[T], Iterator[tuple[bool, T]]]) -> Iterator[T]:
    """Walk depth first what `grow` makes of `start`: (True, output) or (False, to be grown)."""
    spend = current_meter().spend
    pending = [grow(start)]
    while pending:
        found = next(pending[-1], None)
        spend(1)
        if found is None:
            pending.pop()
        elif found[0]:
            yield found[1]
        elif len(pending) == MAX_PENDING:
            raise ExpressionError("expression recurses too deeply")
        else:
            pending.append(grow(found[1]))


def _map(data: JSON, _env: Environment, change: Filter) -> Iterator[JSON]:
    meter = current_meter()
    mapped: list[JSON] = []
    for item in iterate(data):
        meter.spend(1)
        if change.g is not None:
            mapped.append(change.g(item, change.env))
            continue
        for changed in change.vals(item):
            meter.spend(1)
            mapped.append(changed)
    yield mapped


def _range(data: JSON, _env: Environment, *bounds: Filter) -> Iterator[JSON]:
    spend = current_meter().spend
    first, last, step = _range_bounds(bounds)
    for start in first.vals(data) if first else (0,):
        for end in last.vals(data):
            for by in step.vals(data) if step else (1,):
                value, stop, stride = _number(start), _number(end), _number(by)
                while (value < stop) if stride > 0 else (stride < 0 and value > stop):
                    spend(1)
                    yield value
                    value += stride


def _range_bounds(bounds: tuple[Filter, ...]) -> tuple[Filter | None, Filter, Filter | None]:
    if len(bounds) == 1:
        return None, bounds[0], None
    return bounds[0], bounds[1], bounds[2] if len(bounds) == 3 else None


def _number(value: JSON) -> int | float:
    if not is_number(value):
        raise JqError("Range bounds must be numeric")
    return value  # type: ignore[return-value]


def _recurse(data: JSON, _env: Environment, *steps: Filter) -> Iterator[JSON]:
    def grow(value: JSON) -> Iterator[tuple[bool, JSON]]:
        yield True, value
        if not steps:
            if isinstance(value, (list, dict)):
                for child in iterate(value):
                    yield False, child
            return
        for child in steps[0].vals(value):
            if len(steps) == 1 or any(map(truthy, steps[1].vals(child))):
                yield False, child

    return unfold(data, grow)


def _recurse_path(data: JSON, path: Path, _env: Environment, *steps: Filter) -> Iterator[Located]:
    def grow(place: Located) -> Iterator[tuple[bool, Located]]:
        yield True, place
        path, value = place
        current_meter().spend(len(path) // 16)
        if not steps:
            for key, child in _items(value):
                yield False, ([*path, key], child)
            return
        for found in steps[0].paths(value, path):
            if len(steps) == 1 or any(map(truthy, steps[1].vals(found[1]))):
                yield False, found

    return unfold((path, data), grow)


def _items(value: JSON) -> Iterator[tuple[JSON, JSON]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _until(data: JSON, _env: Environment, done: Filter, update: Filter) -> Iterator[JSON]:
    def grow(value: JSON) -> Iterator[tuple[bool, JSON]]:
        for outcome in done.vals(value):
            if truthy(outcome):
                yield True, value
            else:
                for updated in update.vals(value):
                    yield False, updated

    if done.g is None or update.g is None:
        yield from unfold(data, grow)
        return
    spend = current_meter().spend
    while not truthy(done.g(data, done.env)):
        spend(1)
        data = update.g(data, update.env)
    yield data


def _while(data: JSON, _env: Environment, goes_on: Filter, update: Filter) -> Iterator[JSON]:
    def grow(value: JSON) -> Iterator[tuple[bool, JSON]]:
        for outcome in goes_on.vals(value):
            if truthy(outcome):
                yield True, value
                for updated in update.vals(value):
                    yield False, updated

    return unfold(data, grow)


def _repeat(data: JSON, _env: Environment, update: Filter) -> Iterator[JSON]:
    if update.g is None:
        yield from _recurse(data, _env, update)
        return
    spend = current_meter().spend
    while True:
        spend(1)
        yield data
        data = update.g(data, update.env)


def _walk(data: JSON, env: Environment, change: Filter) -> Iterator[JSON]:
    meter = current_meter()
    meter.enter(3)
    try:
        if isinstance(data, list):
            meter.spend(len(data))
            data = [new for item in data for new in _walk(item, env, change)]
        elif isinstance(data, dict):
            meter.spend(len(data))
            data = {
                key: new for key, item in data.items() for new in list(_walk(item, env, change))[:1]
            }
        outputs = []
        for output in change.vals(data):
            meter.spend(1)
            outputs.append(output)
    finally:
        meter.frames -= 3
    return iter(outputs)


def count(value: JSON, what: str) -> int | float:
    """Return a count (raises JqError for what is none)."""
    if not is_number(value):
        raise JqError(f"{what} must be a number, not {describe(value)}")
    if value < 0:  # type: ignore[operator]
        raise JqError(f"{what} must not be negative")
    return value  # type: ignore[return-value]


def _combinations(data: JSON, _env: Environment, *amount: Filter) -> Iterator[JSON]:
    meter = current_meter()
    for times in amount[0].vals(data) if amount else (None,):
        if times is None:
            pools = [list(iterate(pool)) for pool in (iterate(data) if data is not None else ())]
        else:
            repeated = int(count(times, "combinations' count"))
            meter.count_items(repeated)
            pools = [list(iterate(data))] * repeated
        meter.spend(sum(map(len, pools)))
        for combination in product(*pools):
            meter.spend(1 + len(combination))
            yield list(combination)


BUILTINS: dict[Key, Builtin] = {
    **{("range", arity): _range for arity in (1, 2, 3)},
    **{("recurse", arity): _recurse for arity in (0, 1, 2)},
    **{("combinations", arity): _combinations for arity in (0, 1)},
    ("map", 1): _map,
    ("repeat", 1): _repeat,
    ("until", 2): _until,
    ("walk", 1): _walk,
    ("while", 2): _while,
}
PATH_BUILTINS: dict[Key, PathBuiltin] = {
    **{("recurse", arity): _recurse_path for arity in (0, 1, 2)},
}
