"""What an expression computes, and which are refused."""

import copy

import pytest

from zigflow_worker.expressions import (
    JSON,
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    compile_expression,
    compile_template,
    is_expression,
)


def evaluate(source: str, data: JSON = None, **variables: JSON) -> JSON:
    return compile_expression(source, frozenset(variables)).evaluate(data, variables)


def refusal(source: str, *variables: str) -> str:
    with pytest.raises(ExpressionSyntaxError) as refused:
        compile_expression(source, frozenset(variables))
    message = str(refused.value)
    assert "\n" not in message
    return message


def failure(source: str, data: JSON = None, **variables: JSON) -> str:
    with pytest.raises(ExpressionError) as failed:
        evaluate(source, data, **variables)
    message = str(failed.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${ .a }", True),
        ("  ${.a}\n", True),
        ("${}", True),
        ("a ${.a}", False),
        ("${.a} b", False),
        ("$ {.a}", False),
        ("", False),
        (None, False),
        (1, False),
        (["${.a}"], False),
    ],
)
def test_only_a_whole_string_is_an_expression(value: object, expected: bool) -> None:
    assert is_expression(value) is expected


@pytest.mark.parametrize("source", [".a", "${.a}", " ${ .a } "])
def test_source_with_or_without_its_braces(source: str) -> None:
    assert evaluate(source, {"a": 1}) == 1


def test_first_output_is_the_result_and_none_is_null() -> None:
    assert evaluate("1, 2") == 1
    assert evaluate("empty") is None
    assert evaluate("1, error(2)") == 1


def test_variables_are_read_by_reference() -> None:
    value: JSON = {"deep": [1, 2]}
    assert evaluate("$x", x=value) is value
    assert evaluate("{y: $x}", x=value) == {"y": value}


def test_undefined_variables_are_syntax_errors() -> None:
    assert refusal("$x") == "$x is not defined"
    assert refusal(". as $x | $y", "z") == "$y is not defined"
    assert refusal("(1 as $x | $x) + $x") == "$x is not defined"
    assert evaluate("1 as $x | def f($y): $x + $y; f(2)") == 3


def test_integers_are_exact() -> None:
    big = 2**53 + 1
    assert evaluate(".", big) == big
    assert evaluate(". + 1", big) == big + 1
    assert evaluate("9007199254740993 * 9007199254740993") == 9007199254740993**2
    assert evaluate("tojson | fromjson", [big]) == [big]


@pytest.mark.parametrize(
    "name",
    [
        *("$ENV", "env", "now", "input", "inputs", "debug", "stderr", "halt", "halt_error"),
        *("halt_error(1)", "input_filename", "input_line_number", "localtime", "builtins"),
        *('strflocaltime("%Y")', "get_search_list", '"a" | modulemeta', "$__prog_args"),
        *('import "a" as a; .', 'include "a"; .', "$ENV.PATH", 'debug("x")', "getpath"),
        "mystery(1; 2)",
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        "{}",
        '"\\({})"',
        "[.[] | {}]",
        "def f: {}; 1",
        "{{a: {}}}",
        "if . then 1 else {} end",
        "try {} catch .",
        ". as {{a: $x}} | {}",
        ".a |= {}",
        "reduce .[] as $x (0; {})",
        "map(select({}))",
        "path({})",
        '@base64 "\\({})"',
        "label $f | {}",
    ],
)
def test_refused_names_are_found_wherever_they_hide(name: str, place: str) -> None:
    assert refusal(place.format(name))


def test_a_refused_name_may_be_defined_by_the_expression() -> None:
    assert evaluate("def now: 1; now") == 1
    assert "now is not allowed" in refusal("def now: 1; now | (def f: 2; now(3))")
    assert "now is not allowed" in refusal("(def now: 1; now) + now")
    assert evaluate("def f(env): env; f(3)") == 3


def test_user_functions_shadow_builtins_only_in_their_scope() -> None:
    assert evaluate("def length: 7; length", "ab") == 7
    assert evaluate("(def length: 7; length) + length", "ab") == 9
    assert evaluate("def f(g): def g: 3; g; f(1)") == 3
    assert evaluate("def map(f): 1; [1, 2] | map(.)") == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "expression is empty"),
        ("${ }", "expression is empty"),
        (".a |", "unexpected end at line 1, column 5"),
        ("(.a", "unexpected end, expecting ')' at line 1, column 4"),
        (".a\n| }", "unexpected '}' at line 2, column 3"),
        ('"a', "unexpected end: a string is not closed at line 1, column 3"),
        ('"\\x"', "invalid escape in a string at line 1, column 2"),
        ("1 ! 2", "unexpected character '!' at line 1, column 3"),
        ("{(1): 2}", "cannot use number (1) as object key"),
        ("foo", "foo/0 is not defined"),
        ("break $x", "label $x is not defined"),
        ("@nope", "@nope is not a format"),
        ("1e999", "a number is out of range"),
        ("9" * 400, "a number is out of range"),
        ("9" * 5000, "a number is out of range"),
        ("." * 30_000, "expression is longer than 20000 characters"),
        ("." + "|.[]" * 4900, "expression nests more than 200 deep"),
        ("- " * 5000 + "1", "expression nests more than 200 deep"),
    ],
)
def test_syntax_errors_are_one_clear_line(source: str, message: str) -> None:
    assert refusal(source) == message


def test_deep_sources_meet_our_limit_and_nested_calls_compile_quickly() -> None:
    assert "nests" in refusal("[" * 9000)
    assert "nests" in refusal('"\\(' * 400 + "1" + ')"' * 400)
    assert evaluate('"' + "\\(1)" * 1000 + '"') == "1" * 1000
    assert evaluate("1" + " + 1" * 4000) == 4001
    assert evaluate("1" + " | 1" * 4000) == 1
    assert evaluate("[" + ", ".join(["1"] * 4000) + "] | length") == 4000
    assert evaluate("true" + " and true" * 2000) is True
    assert evaluate("null" + " // null" * 2000) is None
    assert evaluate("not | " * 60 + "not", None) is True
    assert evaluate("(" * 40 + "1" + " + 1)" * 40) == 41
    assert evaluate("[first(" * 12 + "1" + ")]" * 12) is not None
    assert evaluate("IN(" * 40 + "1" + ")" * 40) is False
    assert evaluate("map(" * 60 + "combinations, " * 200 + "1" + ")" * 60, []) == []


@pytest.mark.parametrize(
    "source",
    ["nan", "infinite", "-infinite", "[1, [nan]]", "{a: infinite}", "1e308 * 10", "-1 | log"],
)
def test_nan_and_infinities_are_no_results(source: str) -> None:
    assert "NaN or an infinity" in failure(source)


def test_nan_and_infinities_may_help_on_the_way() -> None:
    assert evaluate("reduce .[] as $x (infinite; if $x < . then $x else . end)", [3, 2]) == 2
    assert evaluate("nan | isnan") is True


@pytest.mark.parametrize(
    ("source", "data"),
    [
        (".a + 1", {"a": "x"}),
        ("1 / 0", None),
        (".a.b", {"a": 1}),
        ('error("no")', None),
        ("error({a: 1})", None),
        ("error(null)", None),
        ('range("a")', None),
        ('[1] | .["a"]', None),
        ("flatten(-1)", [1]),
        ('"%FF" | @urid', None),
        ("implode", ["x"]),
        ("limit(-1; 1)", None),
        ('"1" | strptime("%Q")', None),
        ("1e18 | todate", None),
        ("[1e12, 1, 1, 1, 1, 1] | mktime", None),
        ('"{" | fromjson', None),
        ('"NaN" | fromjson', None),
        ('"1e999" | fromjson', None),
        ("pow(10; 1000000000)", None),
        ("reduce range(100) as $i (2; . * .)", None),
    ],
)
def test_failures_are_expression_errors(source: str, data: JSON) -> None:
    assert failure(source, data)


def test_error_messages_do_not_print_whole_values() -> None:
    assert len(failure(".[0] + 1", [{"k": "v" * 100_000}])) < 200
    assert len(failure("error", "v" * 100_000)) <= 500


@pytest.mark.parametrize(
    "source",
    [
        ".a.b |= 5",
        ".list[0] = 9",
        "del(.list[1])",
        ".list |= map([.])",
        ".. |= .",
        ".a += {c: 1}",
        'setpath(["a", "b"]; 1)',
        'walk(if type == "object" then .z = 1 else . end)',
        "to_entries | from_entries",
        "(.list | sort), (.list | reverse)",
        "(.a, .a.x) |= {x: ., y: .}",
        "fromstream(tostream)",
        "reduce range(3) as $i (.; .list[$i] = $i)",
    ],
)
def test_evaluation_never_changes_its_input(source: str) -> None:
    data: JSON = {"a": {"b": 1}, "list": [3, 1, {"d": 2}]}
    before = copy.deepcopy(data)
    evaluate(source, data)
    evaluate(f"$v | {source}", None, v=data)
    assert data == before


def test_updates_do_not_change_what_an_expression_holds_twice() -> None:
    twice = "reduce (1, 2) as $i (.; .a.b = $i | .c = .a) | .a.b = 3"
    assert evaluate(twice, {}) == {"a": {"b": 3}, "c": {"b": 2}}
    shared = '(.x, .x.p, .x.p.k) |= (if type == "object" then {p: ., q: ., k: 1} else 7 end)'
    held: JSON = {"k": 1}
    assert evaluate(shared, {"x": held}) == {
        "x": {"p": {"p": held, "q": held, "k": 7}, "q": held, "k": 1}
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1425599621 | todate", "2015-03-05T23:53:41Z"),
        ('"2015-03-05T23:51:47Z" | fromdate', 1425599507),
        ("1425599621.25 | gmtime", [2015, 2, 5, 23, 53, 41.25, 4, 63]),
        ("-1 | todate", "1969-12-31T23:59:59Z"),
        (
            '0 | strftime("%A %a %B %b %d %e %H %I %j %m %M %p %u %w %y %Z %z %% %c")',
            "Thursday Thu January Jan 01  1 00 12 001 01 00 AM 4 4 70 UTC +0000 % "
            "Thu Jan  1 00:00:00 1970",
        ),
        ('"10:15 pm 3 March 2020" | strptime("%I:%M %p %d %B %Y") | mktime', 1583273700),
        ('"2020 366" | strptime("%Y %j") | todate', "2020-12-31T00:00:00Z"),
        ('"1583273700" | strptime("%s") | mktime', 1583273700),
        ('"69 70" | strptime("%y %d")?', None),
    ],
)
def test_dates_are_utc_and_without_locale(
    monkeypatch: pytest.MonkeyPatch, source: str, expected: JSON
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert evaluate(source) == expected


def test_templates_fill_whole_strings_only() -> None:
    template = compile_template(
        {"a": "${ .n }", "b": ["x ${ .n }", "${ $v }"], "c": {"d": 1}}, frozenset({"v"})
    )
    assert not template.constant
    assert template.evaluate({"n": 1}, {"v": [2]}) == {
        "a": 1, "b": ["x ${ .n }", [2]], "c": {"d": 1}
    }  # fmt: skip


def test_a_constant_template_is_not_copied() -> None:
    value: JSON = {"a": ["b", {"c": None}]}
    template = compile_template(value, frozenset())
    assert template.constant
    assert template.evaluate(None, {}) is value
    mixed = compile_template({"x": "${.}", "same": value}, frozenset()).evaluate(1, {})
    assert isinstance(mixed, dict)
    assert mixed["same"] is value


def test_data_is_never_evaluated() -> None:
    assert (
        compile_template("${ .a }", frozenset()).evaluate({"a": "${ 1 + 1 }"}, {}) == "${ 1 + 1 }"
    )


def test_templates_are_bounded() -> None:
    with pytest.raises(ExpressionSyntaxError, match="not defined"):
        compile_template({"a": ["${ $nope }"]}, frozenset())
    deep: JSON = "x"
    for _ in range(500):
        deep = [deep]
    with pytest.raises(ExpressionSyntaxError, match="nests more than 400 deep"):
        compile_template(deep, frozenset())
    with pytest.raises(ExpressionError, match="budget of 3 steps"):
        compile_template(["${1}", "${2}", "${3}"], frozenset()).evaluate(None, {}, Budget(3))
