"""Paths: a subject and the steps from it, for values and for places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from zigflow_worker.expressions import access
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    NOTHING,
    Code,
    Get,
    Located,
    Scope,
    invalid_path,
    many,
    one,
    optional,
    turn,
)
from zigflow_worker.expressions.errors import CATCHABLE, JqError, caught_value
from zigflow_worker.expressions.printing import brief

CAUGHT = 16
"""Steps of an error that is caught: making its message and unwinding cost more than others."""


def name_step(subject: Code, key: str) -> Code:
    """Compile `subject.key` of a subject with one output."""
    assert subject.get is not None  # noqa: S101 - for the type checker
    return one(_name_getter(subject.get, key), subject, paths=_key_paths(subject, key))


def _name_getter(subject: Get, key: str) -> Get:
    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        value = subject(data, scope, meter)
        return value.get(key) if type(value) is dict else access.index(meter, value, key)

    return get


def names(keys: list[str]) -> Code:
    """Compile `.a.b.c`."""
    code = one(_own_name(keys[0]), weight=len(keys), paths=_names_paths(keys))
    code.names = keys
    if len(keys) > 1:
        get = _two_names(*keys) if len(keys) == 2 else _all_names(tuple(keys))
        code.get = get
        code.gen = lambda data, scope, meter: (get(data, scope, meter),)
    return code


def _own_name(key: str) -> Get:
    def get(data: Any, _scope: Scope, meter: Budget) -> Any:
        return data.get(key) if type(data) is dict else access.index(meter, data, key)

    return get


def _two_names(first: str, second: str) -> Get:
    def get(data: Any, _scope: Scope, meter: Budget) -> Any:
        value = data.get(first) if type(data) is dict else access.index(meter, data, first)
        return value.get(second) if type(value) is dict else access.index(meter, value, second)

    return get


def _all_names(keys: tuple[str, ...]) -> Get:
    def get(data: Any, _scope: Scope, meter: Budget) -> Any:
        for key in keys:
            data = data.get(key) if type(data) is dict else access.index(meter, data, key)
        return data

    return get


def _names_paths(keys: list[str]) -> Any:
    def paths(located: Located, _scope: Scope, meter: Budget) -> Iterable[Located]:
        for key in keys:
            located = _located(meter, located, key, access.index)
        return (located,)

    return paths


def _located(meter: Budget, located: Located, key: Any, take: Callable[..., Any]) -> Located:
    """Return the place and value one step further (raises JqError)."""
    place, value = located
    if place is None:
        raise invalid_path(f"near attempt to access element {brief(key)} of", value)
    return (place, key), take(meter, value, key)


def _key_paths(subject: Code, key: Any) -> Any:
    def paths(located: Located, scope: Scope, meter: Budget) -> Iterator[Located]:
        for inner in subject.paths(located, scope, meter):
            yield _located(meter, inner, key, access.index)

    return paths


def key_step(subject: Code, key: Code, *, guarded: bool) -> Code:
    """Compile `subject[key]`; the key's outputs are the outer loop."""
    steps, take = turn(subject, key), tried if guarded else access.index

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for wanted in key.gen(data, scope, meter):
            for value in subject.gen(data, scope, meter):
                meter.spend(steps)
                found = take(meter, value, wanted)
                if found is not NOTHING:
                    yield found

    def paths(located: Located, scope: Scope, meter: Budget) -> Iterator[Located]:
        for wanted in key.gen(located[1], scope, meter):
            for inner in subject.paths(located, scope, meter):
                meter.spend(steps)
                found = _located(meter, inner, wanted, take)
                if found[1] is not NOTHING:
                    yield found

    get, get_key = subject.single, key.single
    if get is None or get_key is None:
        return many(gen, subject, key, paths=paths)

    indexed = _indexed(get, get_key, take)
    return (optional if guarded else one)(indexed, subject, key, paths=paths, weight=2)


def _indexed(get: Get, get_key: Get, take: Callable[..., Any]) -> Get:
    def indexed(data: Any, scope: Scope, meter: Budget) -> Any:
        wanted = get_key(data, scope, meter)
        return take(meter, get(data, scope, meter), wanted)

    return indexed


def tried(meter: Budget, value: Any, key: Any) -> Any:
    """Return `value[key]`, NOTHING if it is refused."""
    try:
        return access.index(meter, value, key)
    except CATCHABLE as error:
        caught_value(error)
        meter.spend(CAUGHT)
        return NOTHING


def iterate_step(subject: Code, *, guarded: bool) -> Code:
    """Compile `subject[]`."""
    get = subject.single
    each: Any = _items_or_none if guarded else access.items
    paths = _items_paths(subject, guarded=guarded)
    if get is not None:
        code = many(lambda data, scope, meter: each(get(data, scope, meter)), subject, paths=paths)
        if not guarded:
            code.each = (get, None, False)
        return code
    steps = turn(subject)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for value in subject.gen(data, scope, meter):
            meter.spend(steps)
            yield from each(value)

    return many(gen, subject, paths=paths)


def _items_or_none(value: Any) -> Iterable[Any]:
    return access.items(value) if isinstance(value, (list, dict)) else ()


def _items_paths(subject: Code, *, guarded: bool) -> Any:
    steps = turn(subject)

    def paths(located: Located, scope: Scope, meter: Budget) -> Iterator[Located]:
        for place, value in subject.paths(located, scope, meter):
            meter.spend(steps)
            if place is None:
                raise invalid_path("near attempt to iterate through", value)
            for key, item in items_by_key(value, guarded=guarded):
                yield (place, key), item

    return paths


def items_by_key(value: Any, *, guarded: bool = False) -> Iterable[tuple[Any, Any]]:
    """Return the keys and items of a list or map; of others none if guarded, else a JqError."""
    if isinstance(value, dict):
        return value.items()
    if guarded and not isinstance(value, list):
        return ()
    return enumerate(access.items(value))


def slice_step(subject: Code, first: Code, last: Code, *, guarded: bool) -> Code:
    """Compile `subject[first:last]`; the bounds' outputs are the outer loops."""
    steps = turn(subject, first, last)

    def keys(data: Any, scope: Scope, meter: Budget) -> Iterator[dict[str, Any]]:
        for begin in first.gen(data, scope, meter):
            for end in last.gen(data, scope, meter):
                meter.spend(steps)
                yield {"start": begin, "end": end}

    code = key_step(subject, many(keys, first, last), guarded=guarded)
    starts, ends, get = first.single, last.single, subject.single
    if guarded or get is None or starts is None or ends is None:
        return code

    def sliced(data: Any, scope: Scope, meter: Budget) -> Any:
        begin, end = starts(data, scope, meter), ends(data, scope, meter)
        value = get(data, scope, meter)
        if value is not None and not isinstance(value, (list, str)):
            access.clamp(0, begin, end)
            raise access.cannot_index(value, {"start": begin, "end": end})
        return access.cut(meter, value, begin, end)

    return one(sliced, subject, first, last, paths=code.paths)


def getpath(meter: Budget, value: Any, keys: Any) -> Any:
    """Return what is at a path, null behind null (raises JqError)."""
    if not isinstance(keys, list):
        raise JqError("Path must be specified as an array")
    meter.spend(1 + len(keys) // 4)
    for key in keys:
        value = access.index(meter, value, key)
    return value
