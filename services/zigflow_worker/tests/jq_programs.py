"""Programs and data for comparisons with jq: any construct at any place, unparenthesised.

Strategies are made once for each depth. `$x` and `$y` are variables of the evaluation; a program
that uses the label `out` or the functions `f` and `g` is given them.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from hypothesis import strategies as st

from zigflow_worker.expressions import JSON

Programs: TypeAlias = st.SearchStrategy[str]
DEPTH = 3


def _list(text: str) -> list[str]:
    """Return the items of a text, between which there are two spaces or more."""
    return [item for item in re.split(r"\s{2,}", text) if item]


numbers = st.integers(-4, 12) | st.sampled_from([0.5, -2.25, 1024.125, 100])
texts = st.text(alphabet="abxy 1é,", max_size=5) | st.sampled_from(["1", "a,b", "null", "[1]"])
scalars = st.none() | st.booleans() | numbers | texts
keys = st.sampled_from(["a", "b", "c"])
_RICH: list[JSON] = [
    {"a": {"b": [1, 2, {"c": "x"}], "a": None}, "b": [3, None, "a,b"], "c": "ab é"},
    [{"a": 1, "b": [2]}, 3, {"a": None}, [{"a": "x"}]],
    {"a": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 1, "b": False}], "b": 1.5},
    [[1, 2], [3, [4]], ["a", "b"], "a,b", None, False],
    [5, 1, 3, 1],
    {"a": 1, "c": {"b": 2}, "b": "abxa"},
]
_generated: st.SearchStrategy[JSON] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
documents: st.SearchStrategy[JSON] = _generated | st.sampled_from(_RICH)
environments = st.fixed_dictionaries({"x": scalars, "y": documents})

_LITERALS = _list(
    r"""
    .  1  -2  0  3.5  "a"  "b"  "a,b"  null  true  false  []  {}  [1, 2, 3]  ["a", "b"]  {"a": 1}
    {a: [1], b: null}  $x  $y  empty  ..  1.5
    """
)
_STEPS = _list(
    r"""
    .a  .b  .c  [0]  [-1]  []  [1:]  [:2]  [-2:]  ."a"  ["b"]  ?  []?  .a?  [0]?  [1:2]?  .[0]
    .[]  [0, 1]  ["a", "b"]  [1.7]  ."b"?  [$x]
    """
)
_OPERATORS = [
    *("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "//", "|", ","),
    *("|", ",", "//", "+"),
]
_UPDATES = ["=", "|=", "+=", "-=", "*=", "/=", "%=", "//=", "|=", "="]
_PATTERNS = _list(
    r"""
    $x  $y  [$x]  [$x, $y]  {a: $x}  {$a}  {a: [$x], b: $y}  [[$x]]  {$a, b: $y}  {"b": $x}
    {("a", "b"): $x}  [$x, {a: $y}]  {$b: [$x]}
    """
)
NULLARY = _list(
    r"""
    length  keys  keys_unsorted  type  not  tojson  add  sort  unique  arrays  reverse  first
    last  flatten  to_entries  any  all  min  max  objects  ascii_downcase  ascii_upcase  explode
    implode  tostring  tonumber  paths  values  transpose  recurse  tostream  trim  ltrim  rtrim
    floor  ceil  round  sqrt  abs  fabs  combinations  numbers  strings  scalars  iterables  nulls
    booleans  error  from_entries  fromjson  toboolean  utf8bytelength  isnan  isinfinite
    isnormal  halves  trunc  significand  frexp  modf  logb  todate  gmtime  mktime  fromdate
    @text  @json  @csv  @tsv  @html  @uri  @sh  @base64  @base64d  @urid
    finites  normals  infinite  nan  exp2  rint  nearbyint  cbrt  getpath([])  splits(",")
    """
)
_UNARY = _list(
    r"""
    map  map_values  select  sort_by  group_by  unique_by  min_by  max_by  path  del
    to_entries | map  with_entries  walk  any  all  first  last  isempty  paths  add  has
    contains  inside  in  index  rindex  indices  join  split  startswith  endswith  ltrimstr
    rtrimstr  trimstr  flatten  getpath  delpaths  pick  error  test  scan  IN  INDEX  bsearch
    nth  fromstream  tojson | test  capture  [match  splits  f  g  not | g  strftime  strptime
    truncate_stream  limit(2; .[]?) | map  getpath  limit(9; range  limit(9; combinations
    limit(9; recurse
    """
)
_BINARY = _list(
    r"""
    limit  skip  nth  limit(9; range  setpath  any  all  sub  gsub  IN  INDEX  test  match
    capture  scan  split  splits  pow  atan2  fmin  JOIN  limit(9; recurse  fmod
    copysign  drem
    """
)
_HANDLERS = ['"caught"', "type", "[$y]", "empty", "error", "null", "$x?", "(1, 2)"]
"""Handlers behind `catch`: the texts of errors are ours, so that no handler shows them."""
_PATTERN_TEXTS = _list(
    r"""
    a  [ab]+  (?<l>[a-y])  ()  ^  $  (a)|(b)  (a)?b  \\d+  .  b*  (?<n>a)?x
    """
)
_FORMATS = ["@base64", "@json", "@uri", "@html", "@csv", "@sh", "@text", "@tsv"]
_PRELUDE = {
    "f(": "def f(p): p, (p | tojson); ",
    "g(": "def g($v): [., $v, v]; ",
    "halves": "def halves: if numbers and 1 < . and . < 999 then ., (. / 2 | halves) else . end; ",
}


def _by_depth(strategy: Callable[[int], Programs]) -> Callable[[int], Programs]:
    """Make a strategy once a depth; drawing through a function keeps its description short."""
    made = cache(strategy)

    @st.composite
    def drawn(draw: st.DrawFn, depth: int) -> str:
        return draw(made(depth))

    return drawn


@_by_depth
def programs(depth: int) -> Programs:
    """Return programs of pipes, definitions and bindings; shallow ones where `depth` is 0."""
    if depth == 0:
        return _terms(0)
    inner = programs(depth - 1)
    small = programs(max(0, depth - 2))
    return st.one_of(
        *[_chains(depth)] * 4,
        st.tuples(_terms(depth - 1), st.sampled_from(_PATTERNS), inner).map(
            lambda p: f"{p[0]} as {p[1]} | {p[2]}"
        ),
        st.tuples(_terms(depth - 1), small).map(lambda p: f"{p[0]} as $x | {p[1]}, $x"),
        st.tuples(paths(depth - 1), st.sampled_from(_UPDATES), _chains(depth - 1)).map(" ".join),
        st.tuples(paths(depth - 1), st.sampled_from(_UPDATES), inner).map(
            lambda p: f"({p[0]}) {p[1]} ({p[2]})"
        ),
        st.tuples(small, inner).map(lambda p: f"def h: {p[0]}; {p[1]} | h"),
        st.tuples(small, inner).map(lambda p: f"def h(p; $v): {p[0]} | p, $v; h({p[1]}; $x)"),
        st.tuples(inner, small).map(lambda p: f"label $out | {p[0]}, break $out, {p[1]}"),
        st.tuples(small, inner).map(
            lambda p: f"label $out | {p[1]} | if {p[0]} then break $out else . end"
        ),
        inner.map(lambda p: f"try ({p}) catch type"),
        inner.map(lambda p: f"try error(({p})?) catch ."),
    ).filter(_is_short)


@_by_depth
def _chains(depth: int) -> Programs:
    """Return terms with operators between them, or one with a sign."""
    if depth == 0:
        return _terms(0)
    term = _terms(depth - 1)
    return st.one_of(
        term,
        st.tuples(term, st.sampled_from(_OPERATORS), term).map(" ".join),
        st.tuples(term, st.sampled_from(_OPERATORS), term, st.sampled_from(_OPERATORS), term).map(
            " ".join
        ),
        st.tuples(_terms(0), st.sampled_from(_OPERATORS), _chains(depth - 1)).map(" ".join),
        st.tuples(paths(depth - 1), st.sampled_from(["|", "//", ","]), _calls(depth - 1)).map(
            " ".join
        ),
        term.map(lambda t: f"-{t}"),
    )


@_by_depth
def _terms(depth: int) -> Programs:
    """Return terms: what an operator takes without parentheses."""
    leaf = st.one_of(st.sampled_from(_LITERALS), paths(0), st.sampled_from(NULLARY))
    if depth == 0:
        return leaf
    inner = programs(depth - 1)
    chain = _chains(depth - 1)
    return st.one_of(
        leaf,
        paths(depth),
        _calls(depth),
        *[_blocks(depth)] * 2,
        inner.map(lambda p: f"({p})"),
        inner.map(lambda p: f"[{p}]"),
        st.tuples(chain, st.sampled_from(_STEPS)).map(lambda p: f"({p[0]}){p[1]}"),
        st.tuples(inner, st.sampled_from(_STEPS)).map(lambda p: f"[{p[0]}]{p[1]}"),
        _objects(depth),
        st.tuples(inner, inner).map(lambda p: f'"<\\({p[0]})-\\({p[1]})>"'),
        st.tuples(st.sampled_from(_FORMATS), inner).map(lambda p: f'{p[0]} "<\\({p[1]})>"'),
    )


@_by_depth
def _blocks(depth: int) -> Programs:
    """Return terms made of keywords."""
    inner, term, small = programs(depth - 1), _terms(depth - 1), _chains(depth - 1)
    pattern = st.sampled_from(_PATTERNS)
    return st.one_of(
        st.tuples(inner, small, small).map(lambda p: f"if {p[0]} then {p[1]} else {p[2]} end"),
        st.tuples(inner, small).map(lambda p: f"if {p[0]} then {p[1]} end"),
        st.tuples(inner, small, small, small).map(
            lambda p: f"if {p[0]} then {p[1]} elif {p[2]} then {p[3]} end"
        ),
        st.tuples(term, st.sampled_from(_HANDLERS)).map(lambda p: f"try {p[0]} catch {p[1]}"),
        term.map(lambda t: f"try {t}"),
        term.map(lambda t: f"{t}?"),
        st.tuples(term, pattern, small, inner).map(
            lambda p: f"reduce {p[0]} as {p[1]} ({p[2]}; {p[3]})"
        ),
        term.map(lambda t: f"reduce {t} as $x (0; . + $x)"),
        st.tuples(term, pattern, small, inner).map(
            lambda p: f"foreach {p[0]} as {p[1]} ({p[2]}; {p[3]})"
        ),
        st.tuples(term, pattern, small, inner, small).map(
            lambda p: f"foreach {p[0]} as {p[1]} ({p[2]}; {p[3]}; {p[4]})"
        ),
        st.tuples(term, term).map(lambda p: f"first({p[0]}, {p[1]})"),
        inner.map(lambda p: f"[limit(3; repeat(({p}), 1))]"),
        inner.map(lambda p: f"[limit(4; recurse({p}))]"),
        inner.map(lambda p: f'[limit(3; .[]? | until(. == 3 or type != "number"; 3, ({p})))]'),
        inner.map(lambda p: f"[limit(3; while(true; {p}))]"),
    )


@_by_depth
def _calls(depth: int) -> Programs:
    """Return calls of builtins with arguments."""
    if depth == 0:
        return st.sampled_from(NULLARY)
    inner, small = programs(depth - 1), _terms(max(0, depth - 2))
    regex = st.sampled_from(_PATTERN_TEXTS).map(lambda text: f'"{text}"')
    flags = st.sampled_from(["g", "gn", "i", "x", "s", "gx"])
    return st.one_of(
        st.tuples(st.sampled_from(_UNARY), inner).map(lambda p: _call(p[0], p[1])),
        st.tuples(st.sampled_from(_BINARY), small, inner).map(
            lambda p: _call(p[0], f"{p[1]}; {p[2]}")
        ),
        st.tuples(regex, inner).map(lambda p: f"gsub({p[0]}; {p[1]})?"),
        st.tuples(regex, inner, flags).map(lambda p: f'sub({p[0]}; "<\\({p[1]})>"; "{p[2]}")'),
        st.tuples(st.sampled_from(["match", "test", "capture", "scan"]), regex, flags).map(
            lambda p: f'[{p[0]}({p[1]}; "{p[2]}")]'
        ),
        st.tuples(st.sampled_from(["ltrimstr", "split", "join", "index"]), small).map(
            lambda p: f"({p[1]} | tostring) as $x | {p[0]}($x)"
        ),
        paths(depth - 1).map(lambda p: f"[paths({p})]"),
        paths(depth - 1).map(lambda p: f"[path({p})]"),
        paths(depth - 1).map(lambda p: f"del({p})"),
        st.tuples(paths(depth - 1), paths(0)).map(lambda p: f"del({p[0]}, {p[1]})"),
        st.tuples(paths(depth - 1), inner).map(lambda p: f"setpath([path({p[0]})][0]; {p[1]})"),
    )


def _call(opening: str, arguments: str) -> str:
    """Return a call; its opening may be inside a list or `limit`, as infinite ones are."""
    closing = ")" * opening.startswith("limit(9") + "]" * opening.startswith("[")
    return f"{opening}({arguments}){closing}"


@_by_depth
def paths(depth: int) -> Programs:
    """Return expressions of places, mostly: with `?` and `//` anywhere, and no parentheses."""
    steps = st.lists(st.sampled_from(_STEPS), min_size=1, max_size=4).map(_joined)
    if depth == 0:
        return steps
    inner, other = paths(depth - 1), _terms(depth - 1)
    return st.one_of(
        steps,
        steps,
        st.tuples(inner, st.sampled_from(["|", ",", "//"]), inner).map(" ".join),
        st.tuples(inner, other).map(lambda p: f"{p[0]} | select({p[1]})"),
        st.tuples(inner, other).map(lambda p: f"{p[0]} | .[{p[1]}]?"),
        st.tuples(inner, other).map(lambda p: f"({p[0]})[{p[1]}:]?"),
        st.tuples(other, inner, inner).map(lambda p: f"if {p[0]} then {p[1]} else {p[2]} end"),
        st.tuples(inner, st.sampled_from(_HANDLERS)).map(lambda p: f"try ({p[0]}) catch {p[1]}"),
        inner.map(lambda p: f"first({p})"),
        inner.map(lambda p: f"limit(2; {p})"),
        inner.map(lambda p: f"limit(6; recurse({p}))"),
        inner.map(lambda p: f'getpath(["a", 0])?, {p}'),
        st.tuples(inner, inner).map(lambda p: f"{p[0]} as $x | {p[1]}"),
        inner.map(lambda p: f"{p} | first, last, error?"),
    )


def _joined(steps: list[str]) -> str:
    """Return a path that begins with a dot, as all do."""
    path = "".join(steps)
    return path if path.startswith(".") else "." + path


@_by_depth
def _objects(depth: int) -> Programs:
    """Return object constructions, with keys and values of many outputs."""
    value = _terms(depth - 1)
    piped = st.tuples(value, value).map(lambda p: f"{p[0]} | {p[1]}") if depth > 1 else value
    entry = st.one_of(
        st.tuples(st.sampled_from(["a", "b", '"c"', "if", "and"]), value).map(
            lambda p: f"{p[0]}: {p[1]}"
        ),
        st.sampled_from(["a", "$x", "$__loc__", '"b"', "$y", '@base64 "c": 1', '"\\(1, 2)": 3']),
        st.tuples(programs(depth - 1), value).map(lambda p: f"({p[0]}): {p[1]}"),
        st.tuples(programs(depth - 1), value).map(lambda p: f"({p[0]} | tostring): {p[1]}"),
        st.tuples(keys, piped).map(lambda p: f"{p[0]}: {p[1]}"),
    )
    return st.lists(entry, min_size=1, max_size=3).map(lambda es: "{" + ", ".join(es) + "}")


def complete(program: str) -> str:
    """Return a program with the functions it uses defined, and the label it breaks from."""
    defined = "".join(text for name, text in _PRELUDE.items() if name in program)
    label = "label $out | " if "break $out" in program and "label $out" not in program else ""
    return defined + label + program


def _is_short(program: str) -> bool:
    return len(program) < 400


# Only whole programs, of bodies without `break`: jq tries an alternative for what ends a `limit`
# inside, and for errors after the body, too.
alternatives: Programs = st.tuples(
    _terms(1),
    st.sampled_from(["[$x]", "{a: $x}", "$x", "[[$x]]", "{b: [$x]}", "{$x, a: [$y]}"]),
    st.sampled_from(["[$x]", "{a: $x}", "$x", "[$y] ?// $x", "{$a} ?// [$x] ?// {a: $y}"]),
    st.sampled_from(["$x", "[$x, $y]", "$x.a", "$x + 1", "., $x", "error", "$x[]", "[$x[]?], $y"]),
).map(lambda p: f"{p[0]} as {p[1]} ?// {p[2]} | {p[3]}")
complete_programs = (programs(DEPTH) | alternatives).map(complete)
