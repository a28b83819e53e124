"""The parts of purejq we build on, with types: it has none of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from purejq import builtins, compiler, encoder, errors, ops, parser

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
"""Values that an expression reads and returns."""
Node: TypeAlias = tuple[Any, ...]
"""A node of jq's syntax tree: its kind, then its parts."""
Path: TypeAlias = list[JSON]
Located: TypeAlias = tuple[Path, JSON]

JqParseError = errors.JqParseError
if TYPE_CHECKING:

    class JqError(Exception):
        """An error of an expression, which it may catch; it carries any value."""

        value: JSON

        def __init__(self, value: JSON) -> None: ...

else:
    JqError = errors.JqError


class Environment(Protocol):
    """The variables and functions in scope."""

    def lookup_func(self, key: Key) -> Any:
        """Return the function in scope."""


class Filter(Protocol):
    """A builtin's argument: jq passes filters, not values."""

    g: Callable[[JSON, Environment], JSON] | None
    env: Environment

    def vals(self, data: JSON) -> Iterator[JSON]:
        """Yield its outputs for `data`."""

    def paths(self, data: JSON, path: Path) -> Iterator[Located]:
        """Yield the places in `data` it selects, and their values."""


Builtin: TypeAlias = Callable[..., Iterator[JSON]]
PathBuiltin: TypeAlias = Callable[..., Iterator[Located]]
Run: TypeAlias = Callable[[JSON, Environment], Iterator[JSON]]
RunPath: TypeAlias = Callable[[JSON, Path, Environment], Iterator[Located]]
Getter: TypeAlias = Callable[[JSON, Environment], JSON]
Key: TypeAlias = tuple[str, int]

parse: Callable[[str], Node] = parser.parse
compile_node: Callable[[Node], Run] = compiler.compile_v
compile_path_node: Callable[[Node], RunPath] = compiler.compile_p
single_getter: Callable[[Node], Getter | None] = compiler._single_getter
invalid_path: Callable[[Node], RunPath] = compiler._invalid_path
VALUE_NODES: dict[str, Callable[[Node], Run]] = compiler._V
PATH_NODES: dict[str, Callable[[Node], RunPath]] = compiler._P
new_environment: Callable[..., Environment] = compiler.Env

BUILTINS: dict[Key, Builtin] = builtins.PY_BUILTINS
PATH_BUILTINS: dict[Key, PathBuiltin] = builtins.PY_BUILTINS_PATH

add_values: Callable[[JSON, JSON], JSON] = ops.add_values
subtract_values: Callable[[JSON, JSON], JSON] = ops.sub_values
multiply_values: Callable[[JSON, JSON], JSON] = ops.mul_values
divide_values: Callable[[JSON, JSON], JSON] = ops.div_values
modulo_values: Callable[[JSON, JSON], JSON] = ops.mod_values
compare: Callable[[JSON, JSON], int] = ops.jq_cmp
get_path: Callable[[JSON, Path], JSON] = ops.get_path
set_path: Callable[[JSON, Path, JSON], JSON] = ops.set_path
delete_paths: Callable[[JSON, list[JSON]], JSON] = ops.delpaths_impl
iterate: Callable[[JSON], Iterator[JSON]] = ops.iterate_value
_MAX_BRIEF = 60
describe: Callable[[JSON], str] = ops.describe
type_name: Callable[[JSON], str] = ops.type_name
encode: Callable[[JSON], str] = encoder.encode
format_number: Callable[[int | float], str] = encoder.format_number
apply_format: Callable[[str, JSON], str] = builtins.apply_format


def environment(variables: Mapping[str, JSON]) -> Environment:
    """Return the environment of one evaluation; the values are referred to, not copied."""
    return new_environment(None, variables)


def shorten_messages() -> None:
    """Keep purejq from printing whole values into its messages: that is unbounded work."""
    for module, name in ((ops, "_short"), (compiler, "encode")):
        setattr(module, name, brief)


def brief(value: JSON) -> str:
    """Return a value for a message: the start of a scalar, the kind of a container."""
    if isinstance(value, list):
        return "[...]" if value else "[]"
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, str) and len(value) > _MAX_BRIEF:
        return f'{encode(value[:_MAX_BRIEF])[:-1]}..."'
    return encode(value)
