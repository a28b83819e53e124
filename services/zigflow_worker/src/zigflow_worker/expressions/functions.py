"""Functions that an expression defines, and their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    Code,
    Located,
    Place,
    Scope,
    many,
    one,
    optional,
    product,
    start,
)
from zigflow_worker.expressions.flow import bound_value, outer

_OWN_FRAMES = 3
_CALL_STEPS = 2


class Function:
    """A function; its code is known once its body is compiled, which may call it itself."""

    __slots__ = ("_code", "height", "level", "parameters", "steps")

    def __init__(self, level: int, parameters: list[str]) -> None:
        self.level = level
        self.parameters = parameters
        self._code: Code | None = None
        self.height = 0
        self.steps = 0

    @property
    def code(self) -> Code:
        """The compiled body."""
        assert self._code is not None  # noqa: S101 - an expression runs once it is compiled
        return self._code

    @property
    def compiled(self) -> Code | None:
        """The compiled body, None while it is being compiled."""
        return self._code

    def define(self, code: Code) -> None:
        """Set the compiled body."""
        self._code = code
        self.height = code.height + _OWN_FRAMES
        self.steps = _CALL_STEPS + start(code)


def call(function: Function, distance: int, arguments: list[Code]) -> Code:
    """Compile a call; the function is defined `distance` bindings out."""
    values = [
        argument
        for name, argument in zip(function.parameters, arguments, strict=True)
        if name.startswith("$")
    ]
    if values:
        return _call_with_values(function, distance, arguments, values)

    def inside(scope: Scope) -> Scope:
        inner = outer(scope, distance)
        for argument in arguments:
            inner = ((argument, scope), inner)
        return inner

    code = many(
        lambda data, scope, meter: _run(function, data, inside(scope), meter),
        paths=lambda data, place, scope, meter: _run_paths(
            function, data, place, inside(scope), meter
        ),
        weight=2,
    )
    body = function.compiled
    if body is None or body.get is None:
        return code
    run, height, steps = body.get, function.height, function.steps

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        meter.enter(height, steps)
        value = run(data, inside(scope), meter)
        meter.height -= height
        return value

    return (optional if body.maybe else one)(get, paths=code.paths, weight=2, height=4)


def _call_with_values(
    function: Function, distance: int, arguments: list[Code], values: list[Code]
) -> Code:
    """Compile a call with `$` parameters: once for each combination of their values."""
    names = function.parameters

    def scopes(data: Any, scope: Scope, meter: Budget) -> Iterator[Scope]:
        for found in product(values, data, scope, meter):
            rest = iter(found)
            inner = outer(scope, distance)
            for name, argument in zip(names, arguments, strict=True):
                inner = (next(rest) if name[0] == "$" else (argument, scope), inner)
            yield inner

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for inner in scopes(data, scope, meter):
            yield from _run(function, data, inner, meter)

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        for inner in scopes(data, scope, meter):
            yield from _run_paths(function, data, place, inner, meter)

    code = many(gen, *values, paths=paths, weight=2)
    code.height += 2
    return code


def _run(function: Function, data: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
    """Count a call's frames while it runs: between its outputs it stands on none."""
    height = function.height
    meter.enter(height, function.steps)
    for value in function.code.gen(data, scope, meter):
        meter.height -= height
        yield value
        meter.enter(height, 1)
    meter.height -= height


def _run_paths(
    function: Function, data: Any, place: Place, scope: Scope, meter: Budget
) -> Iterator[Located]:
    height = function.height
    meter.enter(height, function.steps)
    for located in function.code.paths(data, place, scope, meter):
        meter.height -= height
        yield located
        meter.enter(height, 1)
    meter.height -= height


def parameter(distance: int) -> Code:
    """Compile a call of a parameter: a filter that runs in the scope of its own."""
    find = bound_value(distance)

    def gen(data: Any, scope: Scope, meter: Budget) -> Iterable[Any]:
        code, inner = find(data, scope, meter)
        height = code.height + _OWN_FRAMES
        meter.enter(height, 1 + start(code))
        for value in code.gen(data, inner, meter):
            meter.height -= height
            yield value
            meter.enter(height, 1)
        meter.height -= height

    def paths(data: Any, place: Place, scope: Scope, meter: Budget) -> Iterator[Located]:
        code, inner = find(data, scope, meter)
        height = code.height + _OWN_FRAMES
        meter.enter(height, 1 + start(code))
        for located in code.paths(data, place, inner, meter):
            meter.height -= height
            yield located
            meter.enter(height, 1)
        meter.height -= height

    return many(gen, paths=paths)
