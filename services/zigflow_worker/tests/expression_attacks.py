"""Expressions that try to take long, or much memory: each builtin and operator on large values.

They are made for the variables of `values()`. Most repeat one operation, as what costs little once
and is charged too little costs much when it is repeated. Those that no rule makes are in
`expression_attacks.txt`.
"""

from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

from zigflow_worker.expressions import JSON


@cache
def values() -> dict[str, JSON]:
    """Return large values; those with a 2 are equal to the others, not the same."""
    return {name: value for which in ("", "2") for name, value in _values(which).items()}


def _values(which: str) -> dict[str, JSON]:
    deep: JSON = 1
    for _ in range(499):
        deep = [deep]
    values: dict[str, JSON] = {
        "text": "x" * 1_000_000,
        "list": list(range(100_000)),
        "map": {f"k{n}": n for n in range(50_000)},
        "deep": deep,
    }
    if not which:
        values["texts"] = [f"{n}," + "<é" * 500 for n in range(1_000)]
        values["big"] = [[n, "x", {"a": n}] for n in range(20_000)]
    return {f"{name}{which}": value for name, value in values.items()}


_NULLARY = """
length keys keys_unsorted type not tojson add sort unique arrays reverse first last flatten
to_entries any all min max objects ascii_downcase ascii_upcase explode implode tostring tonumber
paths values transpose recurse tostream trim ltrim rtrim floor sqrt abs combinations numbers
from_entries fromjson toboolean utf8bytelength isnan frexp todate gmtime mktime fromdate error
@text @json @csv @tsv @html @uri @sh @base64 @base64d @base32 @base32d @urid tojson|fromjson
[.[]?] [..] [paths] [tostream] [splits(",")] leaf_paths getpath([]) pick(first?) tojson|test("y")
with_entries(.) map_values(.) map(.) walk(.) any(.==1) all(.==1) del(.[0]?) .[0]?=1 .[-1:]?=[1]
.[1:]? .[:-1]? del(.[0:2]?) to_entries[0] (explode|implode) group_by(.) unique_by(.) sort_by(.)
min_by(.) max_by(.) index("y")? indices("x")? indices(1)? indices([1])? split("x")? split("")?
split("x";"g")? join(",")? join("")? startswith("x")? ltrimstr("x") rtrimstr("x") trimstr("x")
test("y")? [match("x";"g")]? [match("";"g")]? [scan(".")]? gsub("x";"yy")? gsub("";"y")?
sub("$";"y")?
capture("(?<a>x*)")? contains(["y"])? inside("y")? has("a")? has(0)? bsearch(1)? strftime("%Y")?
strptime("%Y")? ascii tojson|@base64|@base64d @json|@json|@json fromstream(tostream) IN(.[]?;1)
INDEX(.)? [limit(1;.[]?)] [first(.[]?)] [skip(1;.[]?)] isempty(.[]?) [.[]?|tostring] [.[]?+1]
add(.[]?) reduce(.[]?)as$x(0;.+1) [foreach(.[]?)as$x(0;.+1)] "\\(.)" "\\(.)\\(.)" {a:.} {"\\(.)":1}?
[.,.] .+. .*2? ./"x"? .==.. try(error)catch. .[1e9]? delpaths([[0],["a"]])? splits("x")?
truncate_stream(1;tostream)? tojson|ltrimstr("x") getpath(["a","b"])? ([.]|implode)? @text"\\(.)"
@sh"\\(.)"? @uri"\\(.)" (.[]?|=.) (.[]?|=empty) (..|=.) map(tojson)? map(explode)? map(length?)?
"""
_OPERATORS = ("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "//", ",")
_UNARY = """
contains inside index indices startswith endswith ltrimstr rtrimstr trimstr split join has test
in getpath bsearch IN flatten range limit(1; error error tojson
"""
_PATTERNS = (
    *("x{0,900}y", "(x{0,500}){0,2}y", "((x?){0,30}){0,30}y", "(x+)+y", "(x|xx)*y", ".*.*.*=y"),
    *("[^y]*y", "(?<a>x*)(?<b>x*)y", "(.)(.)(.)(.)(.)y", "x{900}", "(x{30}){30}", "\\\\w+\\\\d"),
    *("(" * 400 + "x" + ")" * 400, "x?" * 400 + "y", "|".join(f"x{n}" for n in range(300)), "$"),
)


def attacks() -> list[str]:
    """Return all attacks, each once."""
    return list(dict.fromkeys([*_strange(), *_large_sources(), *_repeated()]))


def _strange() -> list[str]:
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def _repeated() -> Iterator[str]:
    """Yield operations repeated: what a step of the budget allows must not take long."""
    others = cycle(("map", "deep", "texts", "big"))
    for step in _NULLARY.split():
        for name in ("text", "list", next(others)):
            yield f"[range(1e5) | ${name} | try ({step}) catch 1 | 1] | length"
    for operator in _OPERATORS:
        for left, right in (("text", "text2"), ("list", "list2"), ("map", "map2")):
            yield f"[range(1e5) | try (${left} {operator} ${right}) catch 1 | 1] | length"
        yield f"[range(1e5) | try ($deep {operator} $deep2) catch 1 | 1] | length"
        yield f"[range(1e5) as $n | try ($list {operator} $n) catch 1 | 1] | length"
    for call in _UNARY.split():
        closing = ")" * call.count("(") + ")"
        for name in ("text2", "list2", "map2", "deep2"):
            yield f"[range(1e5) | ${name[:-1]} | try {call}(${name}{closing} catch 1 | 1] | length"
    for pattern in _PATTERNS:
        yield f'$text | test("{pattern}")'
        yield f'[range(1e5) | $texts[.]? // "xx" | test("{pattern}")] | length'
        yield f'$text | gsub("{pattern}"; "")'


def _large_sources() -> Iterator[str]:
    """Yield programs that are large themselves."""
    for opening, inner, closing in (
        *(("[", "1", "]"), ("(", "1", ")"), ("{a:", "1", "}"), ("-", "1", ""), ("1 + ", "1", "")),
        *(("1 | ", "1", ""), ("1, ", "1", ""), (".a | ", ".", ""), ("try ", "1", "")),
        *(("if . then ", "1", " else 2 end"), ('"\\(', "1", ')"'), ("1 as $x | ", "$x", "")),
        *(("def f: ", "1", "; f"), ("reduce . as $x (0; ", "1", ")"), ("first(", "1", ")")),
        *(("label $out | ", "1", ""), (". as [$a] ?// $a | ", "1", ""), ("[.[]?] | ", "1", "")),
        *((". as [", "$x", "] | 1"), ("1 // ", "1", ""), ("path(", ".", ")"), (".[", "0", "]")),
        *(("1 and ", "1", ""), ("(1, 1) | ", "1", ""), ("def f(g): g | g; f(", "1", ")")),
    ):
        for count in (30, 190, 1_500):
            yield opening * count + inner + closing * count
    yield "." + "a" * 19_000
    yield "." + ".a" * 9_000 + "?" * 900
    yield "1e" + "9" * 15_000
    yield "9" * 19_000
    yield "#" * 19_000
    yield (
        "".join(f"def f{n}: f{n - 1} | f{n - 1}; " if n else "def f0: .; " for n in range(60))
        + "f59"
    )
    yield (
        "".join(f"def f{n}: f{n - 1}, f{n - 1}; " if n else "def f0: .; " for n in range(60))
        + "f59"
    )
    yield "{" + ", ".join(f"k{n}: (1, 2)" for n in range(60)) + "}"
    yield "{" + ", ".join(f"(1, 2 | tostring): (1, 2, {n})" for n in range(60)) + "} | empty"
    yield "".join(f". as [$a{n}] ?// $a{n} ?// {{a: $a{n}}} | " for n in range(40)) + "error"
    yield '"' + "\\(1, 2)" * 100 + '" | empty'
    yield "[" + ", ".join("1" for _ in range(6_000)) + "]"
    yield "last(range(1e9) | " + "if . < 0 then 1 el" * 500 + "if . then 1 end)"
