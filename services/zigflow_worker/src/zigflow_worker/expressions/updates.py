"""Assignments, and the builtins that change what is at paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zigflow_worker.expressions import steps
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.changes import Patch, delete_paths
from zigflow_worker.expressions.code import (
    NOTHING,
    Code,
    Get,
    Located,
    Scope,
    invalid_path,
    key_list,
    many,
    one,
    turn,
)
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.values import Operation


def places(target: Code, data: Any, scope: Scope, meter: Budget) -> Iterator[list[Any]]:
    """Yield the paths that a filter selects (raises JqError)."""
    if target.names is not None:
        yield target.names
        return
    charge = turn(target)
    for place, value in target.paths(((), data), scope, meter):
        if place is None:
            raise invalid_path("with result", value)
        meter.spend(charge)
        yield key_list(place, meter)


def path_of(target: Code) -> Code:
    """Compile `path(target)`."""

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[list[Any]]:
        for keys in places(target, data, scope, meter):
            meter.make_items(len(keys))
            if keys is target.names:
                steps.getpath(meter, data, keys)
            yield keys[:]

    return many(gen, target, height=2)


def assign(target: Code, value: Code) -> Code:
    """Compile `target = value`."""

    def assigned(data: Any, scope: Scope, meter: Budget, new: Any) -> Any:
        patch = Patch(data, meter)
        for path in places(target, data, scope, meter):
            patch.set(path, new)
        return patch.root

    return _for_each_value(assigned, target, value)


def _for_each_value(change: Any, target: Code, value: Code) -> Code:
    """Compile a change that is made once for each output of `value`, which sees the input."""
    get = value.single
    if get is not None:

        def changed(data: Any, scope: Scope, meter: Budget) -> Any:
            return change(data, scope, meter, get(data, scope, meter))

        return one(changed, target, value, weight=8, height=6)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for new in value.gen(data, scope, meter):
            meter.spend(2)
            yield change(data, scope, meter, new)

    code = many(gen, target, value, weight=8)
    code.height += 6
    return code


def modify(target: Code, change: Code) -> Code:
    """Compile `target |= change`: the first output, or away with what is there."""
    first = first_output(change)
    charge = 1 + (change.weight >> 2)

    def modified(data: Any, scope: Scope, meter: Budget) -> Any:
        patch = Patch(data, meter)
        emptied: list[Any] = []
        for path in places(target, data, scope, meter):
            meter.spend(charge)
            new = first(patch.get(path), scope, meter)
            if new is NOTHING:
                emptied.append(path)
            else:
                patch.set(path, new)
        return delete_paths(meter, patch.root, emptied) if emptied else patch.root

    return one(modified, target, change, weight=8, height=6)


def first_output(code: Code) -> Get:
    """Return what computes the first output of a filter, NOTHING if it has none."""
    if code.get is not None:
        return code.get

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        return next(iter(code.gen(data, scope, meter)), NOTHING)

    return get


def operate(target: Code, operation: Operation, value: Code) -> Code:
    """Compile `target += value` and its kin."""

    def operated(data: Any, scope: Scope, meter: Budget, operand: Any) -> Any:
        patch = Patch(data, meter)
        for path in places(target, data, scope, meter):
            patch.set(path, operation(meter, patch.get(path), operand))
        return patch.root

    return _for_each_value(operated, target, value)


def default(_meter: Budget, value: Any, other: Any) -> Any:
    """Return `value // other`."""
    return other if value is None or value is False else value


def delete(target: Code) -> Code:
    """Compile `del(target)`."""

    def deleted(data: Any, scope: Scope, meter: Budget) -> Any:
        found = list(places(target, data, scope, meter))
        return delete_paths(meter, data, found) if found else data

    return one(deleted, target, weight=4, height=6)


def pick(target: Code) -> Code:
    """Compile `pick(target)`."""

    def picked(data: Any, scope: Scope, meter: Budget) -> Any:
        patch = Patch(None, meter)
        for path in places(target, data, scope, meter):
            patch.set(path, steps.getpath(meter, data, path))
            patch.get(path)
        return patch.root

    return one(picked, target, weight=4, height=6)


def getpath(path: Code) -> Code:
    """Compile `getpath(path)`."""

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for keys in path.gen(data, scope, meter):
            yield steps.getpath(meter, data, keys)

    def paths(located: Located, scope: Scope, meter: Budget) -> Iterator[Located]:
        place, data = located
        for keys in path.gen(data, scope, meter):
            if place is None:
                raise invalid_path("near attempt to access an element of", data)
            value = steps.getpath(meter, data, keys)
            meter.spend(1 + len(keys))
            inner = place
            for key in keys:
                inner = (inner, key)
            yield inner, value

    get = path.single
    if get is None:
        return many(gen, path, paths=paths)

    def found(data: Any, scope: Scope, meter: Budget) -> Any:
        return steps.getpath(meter, data, get(data, scope, meter))

    return one(found, path, paths=paths, weight=2)


def from_stream(events: Code) -> Code:
    """Compile `fromstream(events)`."""
    charge = turn(events)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterable[Any]:
        patch = Patch(None, meter)
        for event in events.gen(data, scope, meter):
            meter.spend(charge)
            if event is None or event == []:
                continue
            if not isinstance(event, list) or not isinstance(event[0], list):
                raise JqError("Invalid streaming format")
            path = event[0]
            if len(event) == 2:
                patch.set(path, event[1])
            if (not path) if len(event) == 2 else len(path) <= 1:
                yield patch.root
                patch = Patch(None, meter)

    return many(gen, events)
