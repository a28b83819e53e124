"""Builtins that choose among another filter's outputs, and stop it when they have enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

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
    iterate,
)
from zigflow_worker.expressions.metering import current_meter
from zigflow_worker.expressions.streams import count, truthy

T = TypeVar("T")


class _Choice(Protocol):
    def __call__(self, number: JSON, items: Callable[[], Iterator[T]]) -> Iterator[T]: ...


def _take(number: JSON, items: Callable[[], Iterator[T]]) -> Iterator[T]:
    wanted = count(number, "limit's count")
    if wanted == 0:
        return
    for taken, item in enumerate(items(), 1):
        yield item
        if taken >= wanted:
            return


def _drop(number: JSON, items: Callable[[], Iterator[T]]) -> Iterator[T]:
    wanted = count(number, "skip's count")
    for seen, item in enumerate(items()):
        if seen >= wanted:
            yield item


def _nth(number: JSON, items: Callable[[], Iterator[T]]) -> Iterator[T]:
    wanted = count(number, "nth's index")
    for seen, item in enumerate(items()):
        if seen >= wanted:
            yield item
            return


def _last(number: JSON, items: Callable[[], Iterator[T]]) -> Iterator[T]:  # noqa: ARG001
    found = None
    for item in items():
        found = (item,)
    if found is not None:
        yield found[0]


def _selected(choose: _Choice) -> tuple[Builtin, PathBuiltin]:
    """Make builtins, of values and of paths, of a choice among another filter's outputs."""

    def builtin(data: JSON, _env: Environment, *args: Filter) -> Iterator[JSON]:
        for number in args[0].vals(data) if len(args) == 2 else (1,):
            yield from choose(number, lambda: args[-1].vals(data))

    def path_builtin(data: JSON, path: Path, _env: Environment, *args: Filter) -> Iterator[Located]:
        for number in args[0].vals(data) if len(args) == 2 else (1,):
            yield from choose(number, lambda: args[-1].paths(data, path))

    return builtin, path_builtin


def _isempty(data: JSON, _env: Environment, items: Filter) -> Iterator[JSON]:
    yield next((False for _ in items.vals(data)), True)


def _error(data: JSON, _env: Environment) -> Iterator[JSON]:
    current_meter().count_value(data)  # the error prints it
    raise JqError(data)


def _error_path(data: JSON, _path: Path, _env: Environment) -> Iterator[Located]:
    current_meter().count_value(data)
    raise JqError(data)


def _any(*, wanted: bool) -> Builtin:
    def builtin(data: JSON, _env: Environment, *args: Filter) -> Iterator[JSON]:
        spend = current_meter().spend
        for item in args[0].vals(data) if len(args) == 2 else iterate(data):
            for outcome in args[-1].vals(item) if args else (item,):
                spend(1)
                if truthy(outcome) is wanted:
                    yield wanted
                    return
        yield not wanted

    return builtin


_SELECTIONS = {
    ("limit", 2): _selected(_take),
    ("skip", 2): _selected(_drop),
    ("nth", 2): _selected(_nth),
    ("first", 1): _selected(_take),
    ("last", 1): _selected(_last),
}
BUILTINS: dict[Key, Builtin] = {
    **{("any", arity): _any(wanted=True) for arity in (0, 1, 2)},
    **{("all", arity): _any(wanted=False) for arity in (0, 1, 2)},
    ("error", 0): _error,
    ("isempty", 1): _isempty,
    **{key: builtin for key, (builtin, _) in _SELECTIONS.items()},
}
PATH_BUILTINS: dict[Key, PathBuiltin] = {
    ("error", 0): _error_path,
    **{key: builtin for key, (_, builtin) in _SELECTIONS.items()},
}
