"""Kinds of syntax nodes that purejq lacks: counted calls.

purejq compiles both the value and the path mode of every argument, at every level, which doubles
the work with each nesting; and it compiles functions again in each evaluation. Ours are compiled
once, in the mode they are used in, and count the frames they stand on.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from zigflow_worker.expressions import engine
from zigflow_worker.expressions.engine import (
    Environment,
    Getter,
    Key,
    Located,
    Node,
    Path,
    Run,
    RunPath,
)
from zigflow_worker.expressions.library import library
from zigflow_worker.expressions.metering import meter
from zigflow_worker.expressions.values import JSON

BUILTIN, APPLY, DEFINE = "stigma$builtin", "stigma$apply", "stigma$define"
_FRAMES = {BUILTIN: 5, "label": 1, "const": 1, "identity": 1, "var": 1, "field": 1}
"""Frames a node itself takes; 2 unless named here."""
_FRAMES_BY_PARTS = frozenset({"str", "object", "if", "parray", "pobject"})
"""Kinds that recurse over their own parts."""
_CALL_FRAMES = 4
_PATH_ARGUMENTS = {
    ("path", 1): 0, ("del", 1): 0, ("pick", 1): 0, ("update", 2): 0, ("assign", 2): 0,
}  # fmt: skip
"""The argument that is taken as places, of builtins in value mode."""
_PATH_ARGUMENTS_OF_PATHS = {
    ("recurse", 1): 0, ("recurse", 2): 0, ("limit", 2): 1, ("skip", 2): 1, ("nth", 2): 1,
    ("first", 1): 0, ("last", 1): 0,
}  # fmt: skip
"""The same, of builtins in path mode."""
T = TypeVar("T")


def register() -> None:
    """Make the node kinds known to purejq, under names that no parser produces."""
    engine.shorten_messages()
    engine.VALUE_NODES.update({BUILTIN: _builtin, APPLY: _apply, DEFINE: _define})
    engine.PATH_NODES.update({BUILTIN: _builtin_path, APPLY: _apply_path, DEFINE: _define_path})


def depth(node: Node, limit: int) -> int:
    """Return how deep a tree is, at most `limit` + 1; without recursion."""
    level: list[Any] = [node]
    deep = 0
    while level and deep <= limit:
        deep += 1
        nodes = [part for part in level if isinstance(part, tuple)]
        lists = [part for part in level if isinstance(part, list)]
        level = [part for node in nodes for part in node if isinstance(part, (tuple, list))]
        level += [part for parts in lists for part in parts if isinstance(part, (tuple, list))]
    return deep


def frames(node: Node) -> int:
    """Return how many Python frames running `node` may take, calls of functions aside."""
    own = _FRAMES.get(node[0], 2)
    if node[0] in _FRAMES_BY_PARTS:
        own += 2 * _width(node)
    return own + max(map(frames, _children(node)), default=0)


def _children(part: Any) -> Iterator[Node]:
    """Yield the nodes directly inside, those in lists and pairs included."""
    for item in part:
        if isinstance(item, tuple) and item and isinstance(item[0], str):
            yield item
        elif isinstance(item, (tuple, list)):
            yield from _children(item)


def _width(part: Any) -> int:
    """Return how many parts a node has, whichever way it keeps them."""
    return sum(len(item) for item in part[1:] if isinstance(item, list))


class _Argument:
    """A filter bound to the scope it is written in; each mode is compiled when first used."""

    __slots__ = ("_code", "env", "g")

    def __init__(self, code: "_Code", env: Environment) -> None:
        self._code = code
        self.env = env
        self.g = code.getter

    @property
    def frames(self) -> int:
        return self._code.frames

    def vals(self, data: JSON) -> Iterator[JSON]:
        return self._code.run(data, self.env)

    def paths(self, data: JSON, path: Path) -> Iterator[Located]:
        return self._code.run_path(data, path, self.env)


class _Code:
    """A filter's code; immutable but for what is compiled late."""

    __slots__ = ("_path", "_value", "frames", "getter", "node")

    def __init__(self, node: Node, *, wanted: str = "value") -> None:
        self.node = node
        self.getter: Getter | None = engine.single_getter(node)
        self._value: Run | None = engine.compile_node(node) if wanted == "value" else None
        self._path: RunPath | None = engine.compile_path_node(node) if wanted == "path" else None
        self.frames = frames(node)

    def run(self, data: JSON, env: Environment) -> Iterator[JSON]:
        if self._value is None:
            self._value = engine.compile_node(self.node)
        return self._value(data, env)

    def run_path(self, data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        if self._path is None:
            self._path = engine.compile_path_node(self.node)
        return self._path(data, path, env)


def _codes(args: list[Node], taken_as_path: int | None) -> list[_Code]:
    return [
        _Code(arg, wanted="path" if index == taken_as_path else "value")
        for index, arg in enumerate(args)
    ]


def _builtin(node: Node) -> Run:
    _, key, args = node
    function = library().values[key]
    if not args:
        return function
    codes = _codes(args, _PATH_ARGUMENTS.get(key))

    def run(data: JSON, env: Environment) -> Iterator[JSON]:
        return function(data, env, *[_Argument(code, env) for code in codes])

    return run


def _builtin_path(node: Node) -> RunPath:
    _, key, args = node
    function = library().paths.get(key)
    if function is None:
        return engine.invalid_path(node)
    codes = _codes(args, _PATH_ARGUMENTS_OF_PATHS.get(key))

    def run(data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        return function(data, path, env, *[_Argument(code, env) for code in codes])

    return run


class _Function:
    """A function of the expression, in the scope of its definition."""

    __slots__ = ("code", "env", "params")

    def __init__(self, params: list[str], code: _Code) -> None:
        self.params = params
        self.code = code
        self.env: Environment

    def scopes(self, data: JSON, args: list[_Argument]) -> Iterator[Environment]:
        """Yield the body's scope, once for each combination of its `$` parameters' values."""
        filters: dict[Key, Any] = {}
        values: list[tuple[str, _Argument]] = []
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


def _combinations(values: list[tuple[str, _Argument]], data: JSON) -> Iterator[dict[str, JSON]]:
    (name, arg), *others = values
    for value in arg.vals(data):
        if not others:
            yield {name: value}
            continue
        for bound in _combinations(others, data):
            yield {name: value, **bound}


def _counted(height: int, outputs: Iterator[T]) -> Iterator[T]:
    """Count a call's frames while it runs: between its outputs it stands on none."""
    gauge = meter()
    while True:
        gauge.enter(height)
        try:
            output = next(outputs)
        except StopIteration:
            return
        finally:
            gauge.frames -= height
        yield output


def _apply(node: Node) -> Run:
    _, key, args = node
    codes = _codes(args, None)

    def outputs(function: _Function, data: JSON, env: Environment) -> Iterator[JSON]:
        for scope in function.scopes(data, [_Argument(code, env) for code in codes]):
            yield from function.code.run(data, scope)

    def run(data: JSON, env: Environment) -> Iterator[JSON]:
        function = env.lookup_func(key)
        if isinstance(function, _Function):
            return _counted(function.code.frames + _CALL_FRAMES, outputs(function, data, env))
        return _counted(function.frames + _CALL_FRAMES, function.vals(data))

    return run


def _apply_path(node: Node) -> RunPath:
    _, key, args = node
    codes = _codes(args, None)

    def outputs(function: _Function, data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        for scope in function.scopes(data, [_Argument(code, env) for code in codes]):
            yield from function.code.run_path(data, path, scope)

    def run(data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        function = env.lookup_func(key)
        if isinstance(function, _Function):
            return _counted(function.code.frames + _CALL_FRAMES, outputs(function, data, path, env))
        return _counted(function.frames + _CALL_FRAMES, function.paths(data, path))

    return run


def _scope_with(env: Environment, name: str, params: list[str], code: _Code) -> Environment:
    function = _Function(params, code)
    function.env = engine.new_environment(env, None, {(name, len(params)): function})
    return function.env


def _define(node: Node) -> Run:
    _, name, params, body, rest = node
    code, run_rest = _Code(body), engine.compile_node(rest)
    return lambda data, env: run_rest(data, _scope_with(env, name, params, code))


def _define_path(node: Node) -> RunPath:
    _, name, params, body, rest = node
    code, run_rest = _Code(body), engine.compile_path_node(rest)
    return lambda data, path, env: run_rest(data, path, _scope_with(env, name, params, code))
