"""Functions that an expression defines, and their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import (
    Code,
    Gen,
    Mode,
    Scope,
    duplex,
    one,
    optional,
    product,
    start,
)
from zigflow_worker.expressions.scopes import bound_value, outer

_OWN_FRAMES = 2
_CALL_STEPS = 3


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

    def run_inside(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        return _run(mode, function, item, inside(scope), meter)

    code = duplex(run_inside)
    body = function.compiled
    if body is None or body.get is None:
        return code
    run, height, steps = body.get, function.height, function.steps

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        meter.enter(height, steps)
        value = run(data, inside(scope), meter)
        meter.height -= height
        return value

    return (optional if body.maybe else one)(get, paths=code.paths, weight=2, height=2)


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

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        for inner in scopes(mode.value(item), scope, meter):
            yield from _run(mode, function, item, inner, meter)

    code = duplex(run, *values)
    code.height += 2
    return code


def _run(mode: Mode, function: Function, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
    """Run a body with `height` counted while it runs: between outputs it stands on no frames."""
    return _counted(mode.of(function.code), (function.height, function.steps), item, scope, meter)


def _counted(
    run: Gen, cost: tuple[int, int], item: Any, scope: Scope, meter: Budget
) -> Iterator[Any]:
    height, steps = cost
    meter.enter(height, steps)
    for output in run(item, scope, meter):
        meter.height -= height
        yield output
        meter.enter(height, 2)
    meter.height -= height


def parameter(distance: int) -> Code:
    """Compile a call of a parameter: a filter that runs in the scope of its own."""
    find = bound_value(distance)

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        code, inner = find(item, scope, meter)
        cost = code.height + _OWN_FRAMES, _CALL_STEPS + start(code)
        return _counted(mode.of(code), cost, item, inner, meter)

    return duplex(run)
