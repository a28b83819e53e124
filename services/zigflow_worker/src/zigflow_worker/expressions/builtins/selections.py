"""Builtins that choose among the outputs of filters, and loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zigflow_worker.expressions import build, catching, choices, pipes, steps, updates
from zigflow_worker.expressions.budget import MAX_HEIGHT, Budget
from zigflow_worker.expressions.choices import is_true
from zigflow_worker.expressions.code import (
    Code,
    Gen,
    Get,
    Mode,
    Scope,
    duplex,
    many,
    one,
    product,
    turn,
)
from zigflow_worker.expressions.errors import ExpressionError, JqError
from zigflow_worker.expressions.values import is_number

_MAX_PENDING = MAX_HEIGHT


def _counts(count: Code, what: str, data: Any, scope: Scope, meter: Budget) -> Iterator[float]:
    for value in count.gen(data, scope, meter):
        if not is_number(value):
            raise JqError(f"{what} must be a number")
        if value < 0:
            negative = "indices" if what == "nth" else "count"
            raise JqError(f"{what} doesn't support negative {negative}")
        yield value


def _limit(count: Code, body: Code) -> Code:
    charge = turn(body)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for wanted in _counts(count, "limit", mode.value(item), scope, meter):
            if wanted == 0:
                continue
            for taken, output in enumerate(mode.of(body)(item, scope, meter), 1):
                meter.spend(charge)
                yield output
                if taken >= wanted:
                    break

    return duplex(run, count, body)


def _skipping(name: str) -> Callable[[Code, Code], Code]:
    """Make `skip(count; body)` or `nth(count; body)`, which ends behind its first output."""

    def compiled(count: Code, body: Code) -> Code:
        charge = turn(body)

        def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
            for wanted in _counts(count, name, mode.value(item), scope, meter):
                for seen, output in enumerate(mode.of(body)(item, scope, meter)):
                    meter.spend(charge)
                    if seen + 1 > wanted:
                        yield output
                        if name == "nth":
                            break

        return duplex(run, count, body)

    return compiled


def _first(body: Code) -> Code:
    if body.get is not None:
        return body

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for output in mode.of(body)(item, scope, meter):
            yield output
            return

    return duplex(run, body)


def _last(body: Code) -> Code:
    charge = turn(body)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        found: tuple[Any, ...] = ()
        for output in mode.of(body)(item, scope, meter):
            meter.spend(charge)
            found = (output,)
        yield from found

    return duplex(run, body)


def _isempty(body: Code) -> Code:
    def get(data: Any, scope: Scope, meter: Budget) -> bool:
        for _ in body.gen(data, scope, meter):
            return False
        return True

    return one(get, body, height=2)


def _any(*, wanted: bool) -> Callable[[Code, Code], Code]:
    def compiled(source: Code, condition: Code) -> Code:
        charge = turn(source, condition)

        def get(data: Any, scope: Scope, meter: Budget) -> bool:
            for item in source.gen(data, scope, meter):
                meter.spend(charge)
                for outcome in condition.gen(item, scope, meter):
                    if is_true(outcome) is wanted:
                        return wanted
            return not wanted

        return one(get, source, condition, height=3)

    return compiled


def _error() -> Code:
    def get(data: Any, _scope: Scope, meter: Budget) -> Any:
        meter.spend(5)
        raise JqError(data)

    return catching.raising(get)


def _range(*bounds: Code) -> Code:
    parts = list(bounds) if len(bounds) > 1 else [pipes.constant(0), *bounds]

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for values in product(parts, data, scope, meter):
            yield from _numbers(*values)

    getters = [part.single for part in parts if part.single is not None]
    if len(getters) < len(parts):
        return many(gen, *parts, height=3)
    return many(
        lambda data, scope, meter: _numbers(*[get(data, scope, meter) for get in getters]), *parts
    )


def _numbers(begin: Any, end: Any, stride: Any = 1) -> Any:
    if not (is_number(begin) and is_number(end) and is_number(stride)):
        raise JqError("Range bounds must be numeric")
    if type(begin) is int and type(end) is int and type(stride) is int and stride:
        return range(begin, end, stride)
    return _float_range(begin, end, stride)


def _float_range(value: float, end: float, stride: float) -> Iterator[float]:
    if not stride:
        return
    while (value < end) if stride > 0 else (value > end):
        yield value
        value += stride


def _unfold(begin: Any, grow: Callable[[Any], Iterator[tuple[bool, Any]]], meter: Budget) -> Any:
    """Walk depth first what `grow` makes of `begin`: (True, output) or (False, to be grown)."""
    pending = [grow(begin)]
    while pending:
        found = next(pending[-1], None)
        meter.spend(1)
        if found is None:
            pending.pop()
        elif found[0]:
            yield found[1]
        elif len(pending) == _MAX_PENDING:
            raise ExpressionError("expression recurses too deeply")
        else:
            pending.append(grow(found[1]))


def _recurse(*parts: Code) -> Code:
    step = parts[0] if parts else steps.iterate_step(pipes.identity(), guarded=True)
    goes_on = parts[1] if len(parts) == 2 else pipes.constant(True)
    charge = turn(step, *parts)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Any:
        def grow(item: Any) -> Iterator[tuple[bool, Any]]:
            yield True, item
            for child in mode.of(step)(item, scope, meter):
                meter.spend(charge)
                for outcome in goes_on.gen(mode.value(child), scope, meter):
                    if is_true(outcome):
                        yield False, child

        return _unfold(item, grow, meter)

    code = duplex(run, step, *parts)
    code.height += 3
    return code


def _loop(*, until: bool) -> Callable[[Code, Code], Code]:
    """Make `until(condition; update)` or `while(condition; update)`."""

    def compiled(condition: Code, update: Code) -> Code:
        charge = turn(condition, condition, update)

        def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Any:
            def grow(item: Any) -> Iterator[tuple[bool, Any]]:
                for outcome in condition.gen(mode.value(item), scope, meter):
                    meter.spend(charge)
                    if is_true(outcome):
                        yield True, item
                    if is_true(outcome) is not until:
                        for changed in mode.of(update)(item, scope, meter):
                            yield False, changed

            return _unfold(item, grow, meter)

        code = duplex(run, condition, update)
        code.height += 3
        if condition.single is not None and update.single is not None:
            code.gen = _looped(condition.single, update.single, charge, until=until)
        return code

    return compiled


def _looped(test: Get, change: Get, charge: int, *, until: bool) -> Gen:
    """Loop where nothing branches: no frames are kept."""

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        while True:
            meter.spend(charge)
            holds = is_true(test(data, scope, meter))
            if holds:
                yield data
            if holds is until:
                return
            data = change(data, scope, meter)

    return gen


def _repeat(body: Code) -> Code:
    charge = turn(body, body)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        while True:
            meter.spend(charge)
            yield from mode.of(body)(item, scope, meter)

    return duplex(run, body)


def _map(change: Code) -> Code:
    items = steps.iterate_step(pipes.identity(), guarded=False)
    return build.collect(pipes.pipe([items, change]))


FILTERS: dict[tuple[str, int], Callable[..., Code]] = {
    **{("range", arity): _range for arity in (1, 2, 3)},
    **{("recurse", arity): _recurse for arity in (0, 1, 2)},
    ("all", 2): _any(wanted=False),
    ("any", 2): _any(wanted=True),
    ("del", 1): updates.delete,
    ("empty", 0): pipes.empty,
    ("error", 0): _error,
    ("first", 1): _first,
    ("fromstream", 1): updates.from_stream,
    ("getpath", 1): updates.getpath,
    ("isempty", 1): _isempty,
    ("last", 1): _last,
    ("limit", 2): _limit,
    ("map", 1): _map,
    ("nth", 2): _skipping("nth"),
    ("path", 1): updates.path_of,
    ("pick", 1): updates.pick,
    ("repeat", 1): _repeat,
    ("select", 1): choices.select,
    ("skip", 2): _skipping("skip"),
    ("until", 2): _loop(until=True),
    ("while", 2): _loop(until=False),
}
