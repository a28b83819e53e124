"""Functions an expression defines: compiled once, and counted for the frames they stand on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from zigflow_worker.expressions import engine
from zigflow_worker.expressions.engine import (
    JSON,
    Environment,
    Key,
    Located,
    Node,
    Path,
    Run,
    RunPath,
)
from zigflow_worker.expressions.filters import Argument, Code
from zigflow_worker.expressions.metering import current_meter

_CALL_FRAMES = 4
T = TypeVar("T")


class _Function:
    """A function of the expression, in the scope of its definition."""

    __slots__ = ("code", "env", "params")

    def __init__(self, params: list[str], code: Code) -> None:
        self.params = params
        self.code = code
        self.env: Environment

    def scopes(self, data: JSON, args: list[Argument]) -> Iterator[Environment]:
        """Yield the body's scope, once for each combination of its `$` parameters' values."""
        filters: dict[Key, Any] = {}
        values: list[tuple[str, Argument]] = []
        for name, arg in zip(self.params, args, strict=True):
            if name.startswith("$"):
                values.append((name[1:], arg))
            else:
                filters[name, 0] = arg
        if not values:
            yield engine.new_environment(self.env, None, filters)
            return
        for bound in _combinations(values, data):
            constants = {(name, 0): _Value(value) for name, value in bound.items()}
            yield engine.new_environment(self.env, bound, {**filters, **constants})


class _Value:
    """A `$` parameter under its name as a filter."""

    __slots__ = ("_value",)
    frames = 1

    def __init__(self, value: JSON) -> None:
        self._value = value

    def vals(self, _data: JSON) -> Iterator[JSON]:
        yield self._value

    def paths(self, _data: JSON, _path: Path) -> Iterator[Located]:
        raise engine.JqError("Invalid path expression")


def _combinations(values: list[tuple[str, Argument]], data: JSON) -> Iterator[dict[str, JSON]]:
    (name, arg), *others = values
    for value in arg.vals(data):
        if not others:
            yield {name: value}
            continue
        for bound in _combinations(others, data):
            yield {name: value, **bound}


def _counted(height: int, outputs: Iterator[T]) -> Iterator[T]:
    """Count a call's frames while it runs: between its outputs it stands on none."""
    meter = current_meter()
    while True:
        meter.enter(height)
        try:
            output = next(outputs)
        except StopIteration:
            return
        finally:
            meter.frames -= height
        yield output


def apply(node: Node) -> Run:
    """Compile a call of a function, or of a parameter, for its values."""
    _, key, args = node
    codes = [Code(arg) for arg in args]

    def outputs(function: _Function, data: JSON, env: Environment) -> Iterator[JSON]:
        for scope in function.scopes(data, [Argument(code, env) for code in codes]):
            yield from function.code.run(data, scope)

    def run(data: JSON, env: Environment) -> Iterator[JSON]:
        function = env.lookup_func(key)
        if isinstance(function, _Function):
            return _counted(function.code.frames + _CALL_FRAMES, outputs(function, data, env))
        return _counted(function.frames + _CALL_FRAMES, function.vals(data))

    return run


def apply_path(node: Node) -> RunPath:
    """Compile a call for the places it selects."""
    _, key, args = node
    codes = [Code(arg) for arg in args]

    def outputs(function: _Function, data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        for scope in function.scopes(data, [Argument(code, env) for code in codes]):
            yield from function.code.run_path(data, path, scope)

    def run(data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        function = env.lookup_func(key)
        if isinstance(function, _Function):
            return _counted(function.code.frames + _CALL_FRAMES, outputs(function, data, path, env))
        return _counted(function.frames + _CALL_FRAMES, function.paths(data, path))

    return run


def _scope_with(env: Environment, name: str, params: list[str], code: Code) -> Environment:
    function = _Function(params, code)
    function.env = engine.new_environment(env, None, {(name, len(params)): function})
    return function.env


def define(node: Node) -> Run:
    """Compile a definition and what follows it, for the values."""
    _, name, params, body, rest = node
    code, run_rest = Code(body), engine.compile_node(rest)
    return lambda data, env: run_rest(data, _scope_with(env, name, params, code))


def define_path(node: Node) -> RunPath:
    """Compile a definition and what follows it, for the places."""
    _, name, params, body, rest = node
    code, run_rest = Code(body), engine.compile_path_node(rest)
    return lambda data, path, env: run_rest(data, path, _scope_with(env, name, params, code))
