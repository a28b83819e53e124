"""All that an expression may call; whatever is not here is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from zigflow_worker.expressions import (
    arithmetic,
    choices,
    containers,
    dates,
    engine,
    metering_builtins,
    regex,
    streams,
    texts,
    updates,
)
from zigflow_worker.expressions.engine import Builtin, Key, Node, PathBuiltin

PREFIX = "stigma$"
"""Begins names of our own: jq's grammar has no `$` inside a name."""

REFUSED = frozenset(
    {
        *("$ENV", "env", "$__prog_args", "builtins", "get_search_list", "modulemeta"),
        *("now", "localtime", "strflocaltime"),
        *("input", "inputs", "input_filename", "input_line_number", "import", "include"),
        *("debug", "stderr", "halt", "halt_error"),
    }
)
"""Names of jq that read the world or the clock, do I/O, or differ from one version to another."""

_AS_THEY_ARE: tuple[Key, ...] = (
    ("empty", 0), ("not", 0), ("select", 1), ("type", 0), ("length", 0),
    ("path", 1), ("getpath", 1), ("isinfinite", 0), ("isnan", 0), ("isnormal", 0),
    ("toboolean", 0), ("truncate_stream", 1), ("atan2", 2),
    ("have_decnum", 0), ("have_literal_numbers", 0),
)  # fmt: skip
"""Builtins of the engine that cost next to nothing."""

_MACROS = r"""
def values: select(. != null);
def nulls: select(. == null);
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type == "array" or type == "object");
def scalars: select(type != "array" and type != "object");
def with_entries(f): to_entries | map(f) | from_entries;
def map_values(f): .[] |= f;
def paths: path(..) | select(length > 0);
def paths(f): . as $dot | paths | select(. as $p | $dot | getpath($p) | f);
def leaf_paths: paths(scalars);
def in(xs): . as $x | xs | has($x);
def inside(xs): . as $x | xs | contains($x);
def first: .[0];
def last: .[-1];
def nth(n): n as $n | .[$n];
def trimstr(s): s as $s | ltrimstr($s) | rtrimstr($s);
def isvalid(f): try (f | true) catch false;
def error(msg): msg as $msg | $msg | error;
def abs: if . < 0 then - . else . end;
def index(i): i as $i | indices($i) | .[0];
def rindex(i): i as $i | indices($i) | .[-1:][0];
def ascii: [.] | implode;
def dateadd(u; n): . + n;
def datesub(u; n): . - n;
def toarray: if type == "array" then . else [.] end;
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def JOIN(idx; f): idx as $idx | [.[] | [., $idx[f]]];
def JOIN(idx; stream; f): idx as $idx | stream | [., $idx[f]];
def JOIN(idx; stream; f; join): idx as $idx | stream | [., $idx[f]] | join;
def GROUP_BY(f): group_by(f);
def UNIQUE_BY(f): unique_by(f);
.
"""


class Library:
    """The builtins by name and arity, in value and in path mode, and the macros.

    `callable` is what an expression may name; macros are spelled out where they are used.
    """

    def __init__(self) -> None:
        builtins = {key: engine.BUILTINS[key] for key in _AS_THEY_ARE}
        for module in (choices, containers, dates, regex, streams, texts, updates):
            builtins |= module.BUILTINS
        self.callable = frozenset(builtins)
        self.macros: Mapping[Key, tuple[list[str], Node]] = dict(_parse_macros())
        operators = {(name, 2): builtin for name, builtin in arithmetic.OPERATORS.items()}
        self.values: Mapping[Key, Builtin] = {
            **builtins,
            **metering_builtins.METERING,
            **operators,
            **texts.METERING,
            **updates.METERING,
        }
        inherited = {
            key: engine.PATH_BUILTINS[key] for key in _AS_THEY_ARE if key in engine.PATH_BUILTINS
        }
        self.paths: Mapping[Key, PathBuiltin] = {
            **inherited,
            **streams.PATH_BUILTINS,
            **choices.PATH_BUILTINS,
            **metering_builtins.PATH_METERING,
        }


@cache
def library() -> Library:
    """Return the library, made at its first use."""
    return Library()


def _parse_macros() -> Iterator[tuple[Key, tuple[list[str], Node]]]:
    node = engine.parse(_MACROS)
    while node[0] == "funcdef":
        _, name, params, body, node = node
        yield (name, len(params)), (params, _renamed(body))


def _renamed(part: Any) -> Any:
    """Give a macro's variables names that no argument can mention."""
    if isinstance(part, list):
        return [_renamed(item) for item in part]
    if not isinstance(part, tuple):
        return part
    if part[:1] in (("var",), ("pvar",)):
        return (part[0], f"{PREFIX}{part[1]}")
    return tuple(_renamed(item) for item in part)
