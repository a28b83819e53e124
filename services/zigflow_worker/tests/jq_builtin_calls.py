"""Calls of builtins on values of the types they are for, at the edges of what those types hold."""

import json

from hypothesis import strategies as st

from zigflow_worker.expressions import JSON

Calls = st.SearchStrategy[tuple[str, JSON]]
"""Programs, each with its input."""

_numbers: st.SearchStrategy[JSON] = st.one_of(
    st.integers(-20, 40),
    st.sampled_from(
        [0.5, -0.5, 1.5, 2.5, -2.7, 0.1, 1e-5, 1e-7, 123456789.125, 1e15, -1e16, 2**53, 1e300]
    ),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False, width=32).filter(lambda n: n % 1 != 0),
)
_text_parts = ["a", "b", "xy", "é", "ß", "İ", "😀", " ", "\t", "\n", ",", "%", "%41", "=", '"', "'"]
_texts: st.SearchStrategy[str] = st.lists(
    st.sampled_from([*_text_parts, "<&>", "\\", "/", "0", "12", "-", "+", "\u0000", "AB", "Z"]),
    max_size=6,
).map("".join)
_scalars: st.SearchStrategy[JSON] = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 6), st.sampled_from([1.5, -0.5]), _texts
)
_values: st.SearchStrategy[JSON] = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "b", "name", "value", "key", "é"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
_lists = st.lists(_values, max_size=5)
_maps = st.dictionaries(st.sampled_from(["a", "b", "c", "B", "é", ""]), _values, max_size=4)
_keys: st.SearchStrategy[JSON] = st.one_of(
    st.sampled_from(["a", "b", 0, 1, -1, 2, 1.7, -1.2, None, True, [1], {"start": 1, "end": None}]),
    st.sampled_from(
        [{"start": 0, "end": 2}, {"start": -1, "end": None}, {"start": None, "end": 1}]
    ),
    st.sampled_from([{"start": 1}, {"a": 1}, [], "", 5]),
)
_key_lists: st.SearchStrategy[JSON] = st.lists(_keys, max_size=3)


def _words(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


def _calls(data: st.SearchStrategy[JSON], programs: st.SearchStrategy[str]) -> Calls:
    return st.tuples(programs, data)


def _with(template: str, *arguments: st.SearchStrategy[JSON]) -> st.SearchStrategy[str]:
    """Return programs of a template whose `%s` are JSON."""
    return st.tuples(*arguments).map(
        lambda drawn: template % tuple(json.dumps(value, ensure_ascii=False) for value in drawn)
    )


_MATH = """
floor ceil round trunc sqrt abs fabs -. tojson tostring isnormal isinfinite isnan significand logb
frexp modf exp2 exp log log2 log10 log1p expm1 cbrt sin cos tan asin acos atan sinh cosh
tanh asinh acosh atanh rint nearbyint todate gmtime ascii_downcase
length not toboolean utf8bytelength @text @json @csv @sh .+1 .*3 .*.-. ./7 .%5 5%. 1/. [.]|implode
[limit(9;range(.))] [limit(9;range(-2;.;.7))] [limit(5;range(.;-3;-1))] .==.+0 tojson|fromjson
[.,1,.5]|sort [.]|min -.|tojson .-0.1|tostring .*1e3|tojson ./1e3|tojson
"""
_TEXT = """
length utf8bytelength ascii_downcase ascii_upcase explode (explode|implode) tojson
(tojson|fromjson) fromjson tonumber trim ltrim rtrim @text @json @csv @tsv @html @uri @sh @base64
@base64d @urid (@uri|@urid) (@base64|@base64d)  reverse
tostring test("a") [scan(".")] split("") explode[0] .[1:] .[:-1]
.[-2:3] .[0] toboolean keys add any floor error [.,.]|@csv {a:.}|@html [limit(3;splits(","))]
[.[]?] sort {(.):1} "<\\(.)>" @json"\\(.)" @uri"a=\\(.)" @sh"e\\(.)" @base64"\\(.)" has(0)
-. tojson|tojson
"""
_LIST = """
length add sort unique reverse first last min max any all flatten transpose keys to_entries
from_entries implode join(",") join("") join(null) tostream [tostream] paths [paths] [..] tojson
fromstream(.[]) fromstream(tostream) combinations [limit(9;combinations)] @csv @tsv @sh @html @uri
group_by(.) unique_by(type) sort_by(length?) min_by(length) max_by(type) INDEX(.) INDEX(type)
map(type) map(.a?) map_values(empty) del(.[0]) del(.[-1],.[0]) del(.[1:]) del(.[:-1])
del(.[]|nulls) .[1:]=[9] .[:1]|=map(1) .[-1]=1 .[7]=1 .[-9]=1 .[1.7]=1 .[nan]=1 .[:1]="x"
.[0]|=empty (.[]|=empty) (.[]|select(.==1))|=empty .[1:]|=empty to_entries|from_entries add(.[]?)
[.[]|tostring] walk(tojson) [1|truncate_stream(tostream)] mktime
todate strftime("%F") has(1) has("a") index(1) indices(1) indices([1]) indices([]) rindex([1,2])
contains([1]) inside([1]) .-[1] .*2 .+[1] sort|bsearch(1) sort|bsearch("a") flatten(1) flatten(-1)
nth(1)
nth(-1) [.[]|numbers] pick(.[0]) pick(first) pick(.[-1]) [limit(2;.[])] [skip(1;.[])]
getpath([0,0])? error tojson|fromjson IN(.[];1) any(.==1) all(type=="number") isempty(.[])
ascii_downcase @base64 @json .[[1]] .[null] .["a"] .[{}]? .[1,0] .[{"start":1,"end":2}] .[null:1]
.["a":]? .[1.2:2.7] .[-2.5:] .[infinite:]? .[nan:]? sort_by(.a?,.b?)
"""
_MAP = """
length keys keys_unsorted to_entries with_entries(.) with_entries(.value|=tojson) map_values(.)
map_values(empty) del(.a) del(.a,.b) del(..) .a|=empty (.[]|=empty) [.[]] add any all tojson
[paths] [..] tostream [tostream] fromstream(tostream) walk(.) pick(.a.b?) pick(.a,.b) .+{a:1}
.*{a:{b:1}} {a:{b:0}}*. .-{} .*2 has("a") has(0) contains({a:1}) inside({a:1}) map(.) first last
sort min flatten from_entries join(",") getpath(["a","b"])? .a.b? .a[0]? .["a","b"]
to_entries|from_entries @json @csv .a+=1 .a//=1 .b*=2 ([.[]]|add)? reverse unique
transpose implode ltrimstr("a") keys[0] {a,b} {a:.b,c} {"a"} {(keys[]):1} [.[]|type]
with_entries(select(.key>"a")) map_values(.,.) .[]+=1 to_entries|map(.key) del(.[keys[0]?])
delpaths([paths]) [getpath(paths)] error .. tojson|fromjson
"""
_PARTS = [
    "a",
    "b",
    ".",
    "x",
    "[ab]",
    "(a)",
    "(?<n>b)",
    "(a|b)",
    "^",
    "$",
    "\\\\d",
    "é",
    "(?<m>x)?",
    "[^a]",
]
_patterns = st.lists(
    st.tuples(st.sampled_from(_PARTS), st.sampled_from(["", "", "*", "+", "?", "{2}", "+?"])).map(
        lambda part: part[0] + (part[1] if part[0] not in ("^", "$", "(?<m>x)?") else "")
    ),
    max_size=4,
).map("".join)
_never_empty = st.lists(
    st.tuples(st.sampled_from([*_PARTS[:6], "é", "[^a]"]), st.sampled_from(["", "+", "{2}"])).map(
        "".join
    ),
    min_size=1,
    max_size=3,
).map("".join)
_ascii_texts: st.SearchStrategy[JSON] = st.lists(
    st.sampled_from(["a", "b", "ab", "x", "1", "\n", "A"]), max_size=6
).map("".join)
# Of other texts jq finds some empty matches twice.
_other_texts: st.SearchStrategy[JSON] = st.lists(
    st.sampled_from(["a", "b", "x", "é", "😀", "A"]), max_size=6
).map("".join)


def _regex_programs(patterns: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return calls of the functions that search."""
    names = _words("test match scan capture splits split sub% gsub% sub@ gsub@")
    flags = _words('null "g" "i" "x" "n" "gn" "s" "q" "gi"')
    return st.tuples(names, patterns, flags).map(lambda drawn: _regex_call(*drawn))


def _regex_call(call: str, pattern: str, flags: str) -> str:
    """Return a call; `%` and `@` are for what replaces a match, once or twice."""
    replacement = {"%": '; "<\\(.n)>"', "@": '; "1", "2\\(.m // .n)"'}.get(call[-1], "")
    return f'[{call.strip("%@")}("{pattern}"{replacement}; {flags})]'


_DIRECTIVES = "aAbBcdDeFgGHIjmMnpRsSTtuUVwWxXyYzZ%"
_formats: st.SearchStrategy[str] = st.lists(
    st.sampled_from([*(f"%{letter}" for letter in _DIRECTIVES), "-", " ", ":", "x", "T"]),
    min_size=1,
    max_size=4,
).map("".join)
_times: st.SearchStrategy[JSON] = st.one_of(
    st.integers(-(10**10), 10**11),
    st.floats(-1e9, 4e9, width=32),
    st.sampled_from([0, 951782400, 1425599621, 1e12, -62135596800, 253402300800, 0.999999]),
)
_broken_down = st.tuples(
    st.sampled_from([1969, 1970, 2000, 2024, 2100, 1, 9999, 10000, -5, 2024.7]),
    *(st.integers(-2, high) for high in (13, 33, 25, 61, 62)),
).map(list)
_texts_of_times = st.sampled_from(
    [
        *(
            "2015-03-05T23:51:47Z",
            "2024-02-29T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2015-3-5T1:2:3Z",
        ),
        *(
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:60Z",
            "10:15 March 3, 2020",
            "Thu, 05 Mar 2015",
        ),
        *(
            "2015-03-05",
            "23:51",
            "2015 064",
            "5 Mar 15",
            "2015-03-05T23:51:47+0100",
            "",
            "12/31/99",
        ),
    ]
)
_readings: st.SearchStrategy[JSON] = st.sampled_from(
    [
        *("%Y-%m-%dT%H:%M:%SZ", "%H:%M %B %d, %Y", "%a, %d %b %Y", "%Y-%m-%d", "%Y %j"),
        *("%d %b %y", "%Y-%m-%dT%H:%M:%S%z", "%D", "%F", "%T", "%m/%d/%y", "%e %b %y", "%s"),
    ]
)

math_calls = st.one_of(
    # Multiplied, as jq prints a number of its input as it was written.
    _calls(_numbers, _words(_MATH).map(lambda call: f". * 1 | {call}")),
    _calls(
        _numbers,
        st.tuples(st.sampled_from("+-*/%"), _numbers).map(
            lambda drawn: f". {drawn[0]} ({json.dumps(drawn[1])}) | ., tojson"
        ),
    ),
    _calls(
        _numbers,
        st.tuples(
            _words("pow atan2 fmod fmin fmax fdim copysign drem hypot nextafter"),
            _numbers,
        ).map(lambda drawn: f"{drawn[0]}(.; {json.dumps(drawn[1])})"),
    ),
)
text_calls = st.one_of(
    _calls(_texts, _words(_TEXT)),
    _calls(
        _texts,
        st.tuples(
            _words("split index rindex indices startswith endswith ltrimstr rtrimstr trimstr join"),
            _texts,
        ).map(lambda drawn: f"{drawn[0]}({json.dumps(drawn[1], ensure_ascii=False)})"),
    ),
    _calls(_texts, _with(". * %s", st.integers(-2, 9) | st.sampled_from([0.5, 1.5, -0.1, 2.9]))),
    _calls(_texts, _with(". / %s", _texts)),
    _calls(
        st.text(alphabet="0123456789.eE+-nai \t", max_size=7), _words("tonumber fromjson toboolean")
    ),
    _calls(
        st.text(alphabet='[]{}:,"a1 nultrue\\', max_size=9),
        st.sampled_from(["fromjson", "try fromjson catch 1"]),
    ),
)
list_calls = _calls(_lists, _words(_LIST))
map_calls = _calls(_maps, _words(_MAP))
mixed_calls = st.one_of(
    _calls(
        _values,
        st.tuples(_words("== != < <= > >= + - * / // and or"), _values).map(
            lambda drawn: f". {drawn[0]} {json.dumps(drawn[1], ensure_ascii=False)}"
        ),
    ),
    _calls(
        _values,
        st.tuples(
            _words("contains inside has index indices join split error IN ltrimstr add"),
            _values,
        ).map(lambda drawn: f"{drawn[0]}({json.dumps(drawn[1], ensure_ascii=False)})"),
    ),
    _calls(_values, _words(_LIST + _MAP + _TEXT)),
    _calls(_lists, _words("sort unique group_by(.) min max add unique_by(.)")),
)
path_calls = st.one_of(
    _calls(_values, _with("getpath(%s)", _key_lists)),
    _calls(_values, _with("[getpath(%s)?]", _key_lists)),
    _calls(_values, _with("setpath(%s; %s)", _key_lists, _scalars)),
    _calls(_values, _with("delpaths([%s, %s])", _key_lists, _key_lists)),
    _calls(_values, _with(".[%s]", _keys)),
    _calls(_values, _with(".[%s]?", _keys)),
    _calls(_values, _with(".[%s] = %s", _keys, _scalars)),
    _calls(_values, _with("del(.[%s])", _keys)),
    _calls(_values, _with("del(.[%s], .[%s])", _keys, _keys)),
    _calls(_values, _with(".[%s] |= %s", _keys, _scalars)),
    _calls(_values, _with(".[%s:%s]", _keys, _keys)),
    _calls(_values, _with(".[%s:%s] = [%s]", _keys, _keys, _scalars)),
    _calls(_values, _with("del(.[%s:%s])", _keys, _keys)),
    _calls(_values, _with("has(%s)", _keys)),
    _calls(_values, _with("[paths(. == %s)]", _scalars)),
    _calls(_values, _with("pick(getpath(%s))", _key_lists)),
    _calls(_values, _with("getpath(%s) |= 1", _key_lists)),
    _calls(_values, _with("to_entries, with_entries(.key |= %s)", _scalars)),
    _calls(_values, _with("tostream | select(.[0][0] == %s)", _keys)),
    _calls(_values, _with("limit(%s; .[]?)", _numbers)),
    _calls(_values, _with("skip(%s; .[]?)", _numbers)),
    _calls(_values, _with("nth(%s; .[]?)", _numbers)),
)
regex_calls = st.one_of(
    _calls(_ascii_texts, _regex_programs(_patterns)),
    _calls(_other_texts, _regex_programs(_never_empty)),
)
date_calls = st.one_of(
    _calls(_times, st.sampled_from(["todate", "gmtime", "gmtime | mktime", "gmtime | todate"])),
    _calls(_times, _with("strftime(%s)", _formats)),
    _calls(_broken_down, st.sampled_from(["mktime", "todate", 'strftime("%Y-%m-%dT%H:%M:%SZ")'])),
    _calls(_broken_down, _with("strftime(%s)", _formats)),
    _calls(_texts_of_times, _with("strptime(%s)", _readings)),
    _calls(_texts_of_times, _with("strptime(%s) | mktime", _readings)),
    _calls(_texts_of_times, st.just("fromdate")),
)
KINDS: dict[str, Calls] = {
    "numbers": math_calls,
    "texts": text_calls,
    "lists": list_calls,
    "maps": map_calls,
    "mixed": mixed_calls,
    "paths": path_calls,
    "regexes": regex_calls,
    "dates": date_calls,
}
