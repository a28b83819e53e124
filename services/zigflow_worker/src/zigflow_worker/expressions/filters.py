"""Filters as code: the arguments of builtins and functions, and the bodies of functions."""

from __future__ import annotations

from collections.abc import Iterator

from zigflow_worker.expressions import engine
from zigflow_worker.expressions.arithmetic import OPERATIONS
from zigflow_worker.expressions.ast_limits import BUILTIN, frames
from zigflow_worker.expressions.engine import (
    JSON,
    Environment,
    Getter,
    Located,
    Node,
    Path,
    Run,
    RunPath,
)


class Code:
    """A filter's code; immutable but for the mode that is compiled when first used.

    `getter` computes its one output, if it has exactly one.
    """

    __slots__ = ("_frames", "_path", "_value", "getter", "node")

    def __init__(self, node: Node, *, as_path: bool = False) -> None:
        self.node = node
        self.getter = _getter(node)
        self._value: Run | None = None if as_path else engine.compile_node(node)
        self._path: RunPath | None = engine.compile_path_node(node) if as_path else None
        self._frames: int | None = None

    @property
    def frames(self) -> int:
        """Number of Python frames it may take; counted when first asked for."""
        if self._frames is None:
            self._frames = frames(self.node)
        return self._frames

    def run(self, data: JSON, env: Environment) -> Iterator[JSON]:
        """Yield the filter's outputs."""
        if self._value is None:
            self._value = engine.compile_node(self.node)
        return self._value(data, env)

    def run_path(self, data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        """Yield the places the filter selects."""
        if self._path is None:
            self._path = engine.compile_path_node(self.node)
        return self._path(data, path, env)


class Argument:
    """A filter bound to the scope it is written in, as purejq's builtins expect it."""

    __slots__ = ("_code", "env", "g")

    def __init__(self, code: Code, env: Environment) -> None:
        self._code = code
        self.env = env
        self.g = code.getter

    @property
    def frames(self) -> int:
        """Return how many Python frames running it may take."""
        return self._code.frames

    def vals(self, data: JSON) -> Iterator[JSON]:
        """Yield its outputs for `data`."""
        return self._code.run(data, self.env)

    def paths(self, data: JSON, path: Path) -> Iterator[Located]:
        """Yield the places in `data` it selects."""
        return self._code.run_path(data, path, self.env)


def _getter(node: Node) -> Getter | None:
    if node[0] != BUILTIN or node[1][0] not in OPERATIONS:
        return engine.single_getter(node)
    operation = OPERATIONS[node[1][0]]
    left, right = map(_getter, node[2])
    if left is None or right is None:
        return None
    return lambda data, env: operation(left(data, env), right(data, env))
