"""Kinds of syntax nodes that purejq lacks: counted calls.

purejq compiles both the value and the path mode of every argument, at every level, which doubles
the work with each nesting; and it compiles functions again in each evaluation. Ours are compiled
once, in the mode they are used in, and count the frames they stand on.
"""

from __future__ import annotations

from collections.abc import Iterator

from zigflow_worker.expressions import engine, functions
from zigflow_worker.expressions.ast_limits import APPLY, BUILTIN, DEFINE
from zigflow_worker.expressions.engine import JSON, Environment, Located, Node, Path, Run, RunPath
from zigflow_worker.expressions.filters import Argument, Code
from zigflow_worker.expressions.library import library

_PATH_ARGUMENTS = {
    ("path", 1): 0, ("del", 1): 0, ("pick", 1): 0, ("update", 2): 0, ("assign", 2): 0,
}  # fmt: skip
"""The argument that is taken as places, of builtins in value mode."""
_PATH_ARGUMENTS_OF_PATHS = {
    ("recurse", 1): 0, ("recurse", 2): 0, ("limit", 2): 1, ("skip", 2): 1, ("nth", 2): 1,
    ("first", 1): 0, ("last", 1): 0,
}  # fmt: skip
"""The same, of builtins in path mode."""


def register() -> None:
    """Make the node kinds known to purejq, under names that no parser produces."""
    engine.shorten_messages()
    engine.VALUE_NODES.update({BUILTIN: _builtin, APPLY: functions.apply, DEFINE: functions.define})
    engine.PATH_NODES.update(
        {
            BUILTIN: _builtin_path,
            APPLY: functions.apply_path,
            DEFINE: functions.define_path,
            "alt": _alt_path,
        }
    )


def _builtin(node: Node) -> Run:
    _, key, args = node
    function = library().values[key]
    if not args:
        return function
    codes = _compiled(args, _PATH_ARGUMENTS.get(key))

    def run(data: JSON, env: Environment) -> Iterator[JSON]:
        return function(data, env, *[Argument(code, env) for code in codes])

    return run


def _builtin_path(node: Node) -> RunPath:
    _, key, args = node
    function = library().paths.get(key)
    if function is None:
        return engine.invalid_path(node)
    codes = _compiled(args, _PATH_ARGUMENTS_OF_PATHS.get(key))

    def run(data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        return function(data, path, env, *[Argument(code, env) for code in codes])

    return run


def _alt_path(node: Node) -> RunPath:
    """Give `a // b` a path mode, which purejq lacks: the place of what it finds."""
    first, second = engine.compile_path_node(node[1]), engine.compile_path_node(node[2])

    def run(data: JSON, path: Path, env: Environment) -> Iterator[Located]:
        found = False
        try:
            for place in first(data, path, env):
                if place[1] is not None and place[1] is not False:
                    found = True
                    yield place
        except engine.JqError:
            pass  # as in jq: an error is one more absence
        if not found:
            yield from second(data, path, env)

    return run


def _compiled(args: list[Node], taken_as_path: int | None) -> list[Code]:
    return [Code(arg, as_path=index == taken_as_path) for index, arg in enumerate(args)]
