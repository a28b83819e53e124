"""Runaway expressions end by a count, the same each time, and never by the interpreter's limits."""

import sys
import threading
import time

import pytest

from zigflow_worker.expressions import (
    DEFAULT_STEPS,
    JSON,
    Budget,
    ExpressionError,
    compile_expression,
)

RUNAWAYS = [
    "[range(1e12)]",
    "last(range(1e12))",
    "def f: f; f",
    "def f: [f]; f",
    "def f: {a: f}; f",
    "def f: f, f; f",
    'def f: "\\(f)"; f',
    "def f: if false then 1 elif false then 2 else f end; f",
    "def f: first(f); f",
    "def f: [[1]] | walk(f); f",
    "def f: reduce f as $x (0; .); f",
    "def f(x): f(x | x); f(.)",
    "def f($a; $b): f($a + 1; $b); f(1; 2)",
    "def f: .a |= f; f",
    "def f: f // f; f",
    "def f: try f catch .; f",
    "path(def f: .a | f; f)",
    "path(def f: if f then . else . end; f)",
    "[repeat(.)]",
    "last(repeat(1, 2))",
    "[limit(1e9; repeat(1))]",
    "until(false; .)",
    "until(false; ., .)",
    "[while(true; .)]",
    "[recurse(0)]",
    "[recurse([.])]",
    "last(recurse(., .))",
    "[path(recurse(.a))] | length",
    '"a" * 1e9',
    '"a" * 1e300',
    'reduce range(1e9) as $i ("a"; . + .)',
    "reduce range(1e9) as $i ([1]; . + .)",
    "reduce range(1e9) as $i (null; .[$i] = 1)",
    "reduce range(200) as $i (1; [., .])",
    "reduce range(200) as $i (1; {a: ., b: .}) | tojson",
    "reduce range(1e6) as $i (0; reduce range(1e6) as $j (.; . + 1))",
    "[range(1e4)] | [combinations(4)]",
    "[range(1000)] as $x | [$x[] | $x[] | $x[]] | length",
    "[range(2000)] as $x | reduce $x[] as $i (0; . + ($x | map(select(. == $i)) | length))",
    "|".join(["(1, 1)"] * 60) + " | empty",
    "{" + ", ".join(f"k{i}: (1, 2)" for i in range(60)) + "} | empty",
    "[range(3000)] - [range(3000)] | . as $x | [range(1e6) | [range(9)] - [range(9)]]",
    "setpath([99999999]; 1)",
    '[range(1e6) | "aaaaaaaaaa" | test("(a+)+$")]',
    '[limit(1e6; repeat("x")) | gsub("x"; "xx")]',
    '"\\(range(1e9))" | empty',
    '[splits("a") | range(1e9)]',
    "label $f | range(1e12) | if . < 0 then break $f else empty end",
    "[range(1e9) | try error catch .]",
    "[range(1e9) | ($v + 1)?]",
    "first(range(1e12) | select(. < 0))",
    "any(range(1e12); . < 0)",
    "isempty(range(1e12) | empty)",
    "[foreach range(1e12) as $x (0; . + 1)]",
    "[.[:100000000]?, range(1e12)]",
    "add(range(1e12))",
    "INDEX(range(1e12); .)",
    "".join(f"def f{i}: f{i - 1} | f{i - 1}; " if i else "def f0: .; " for i in range(30)) + "f29",
    "last(range(1e9) | " + "if . < 0 then 1 el" * 500 + "if . then 1 end)",
    "last(range(1e9) | " + ".a?" * 40 + ")",
    "[range(1e9) | ($v + 1) // 0]",
    "fromstream(range(1e12) | [[0], .])",
]


def outcome(source: str, data: JSON, budget: Budget) -> str:
    big: JSON = {"big": [list(range(1000))] * 10}
    expression = compile_expression(source, frozenset({"v"}))
    with pytest.raises(ExpressionError) as failed:
        expression.evaluate(data, {"v": big}, budget)
    return f"{failed.value}"


@pytest.mark.parametrize("source", RUNAWAYS, ids=lambda source: source[:40])
def test_a_runaway_ends_soon_and_at_the_same_step(source: str) -> None:
    first, second = Budget(100_000), Budget(100_000)
    began = time.process_time()
    message = outcome(source, "aaa", first)
    assert time.process_time() - began < 5
    assert outcome(source, "aaa", second) == message
    assert first.used == second.used


@pytest.mark.parametrize("source", ["def f: f; f", "def f: 1 + (.[0]? | f); f", "[recurse([.])]"])
def test_the_end_does_not_depend_on_the_callers_stack(source: str) -> None:
    def at_depth(depth: int) -> tuple[str, int]:
        if depth:
            return at_depth(depth - 1)
        budget = Budget(100_000)
        return outcome(source, None, budget), budget.used

    assert at_depth(0) == at_depth(500)


def test_deep_recursion_fits_a_small_thread() -> None:
    outcomes: list[str] = []
    previous = threading.stack_size(2 * 1024 * 1024)
    try:
        thread = threading.Thread(
            target=lambda: outcomes.append(outcome("def f: [[1]] | map(1 + f); f", None, Budget()))
        )
        thread.start()
    finally:
        threading.stack_size(previous)
    thread.join()
    assert outcomes == ["expression recurses too deeply"]


def test_threads_count_for_themselves() -> None:
    source = "def f: if . < 50 then . + 1 | f else [range(200)] | map(. * 2) | add end; f"
    expression = compile_expression(source, frozenset())
    used: list[int] = []

    def run() -> None:
        for _ in range(20):
            budget = Budget()
            assert expression.evaluate(0, {}, budget) == 39800
            used.append(budget.used)

    threads = [threading.Thread(target=run) for _ in range(4)]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert len(used) == 80
    assert len(set(used)) == 1


@pytest.mark.parametrize(
    ("source", "data"),
    [
        ("def f: if . <= 1 then 1 else . * (. - 1 | f) end; f", 150),
        ("until(. > 100000; . + 1)", 0),
        ("[limit(1000; repeat(1))] | length", None),
        ("reduce range(3000) as $i ([]; . + [$i]) | length", None),
        ("map(. * 2) | add", list(range(10_000))),
        ("map_values(. + 1) | length", {str(i): i for i in range(5_000)}),
        ("del(.[] | select(. > 10)) | length", list(range(300))),
        ("group_by(. % 7) | map(length)", list(range(3_000))),
        ('[.[] | tostring] | join(",") | length', list(range(5_000))),
        ("map(select(. > 5)) | sort_by(-.) | first", list(range(5_000))),
    ],
)
def test_honest_work_fits_the_default_budget(source: str, data: JSON) -> None:
    assert compile_expression(source, frozenset()).evaluate(data, {}) is not None


def test_a_budget_is_shared_and_says_what_is_left() -> None:
    budget = Budget(100)
    expression = compile_expression("[range(10)] | length", frozenset())
    expression.evaluate(None, {}, budget)
    spent = budget.used
    assert 0 < spent < 100
    assert budget.remaining == 100 - spent
    with pytest.raises(ExpressionError, match="budget of 100 steps"):
        compile_expression("[range(100)]", frozenset()).evaluate(None, {}, budget)
    assert budget.remaining == 0
    assert Budget().limit == DEFAULT_STEPS


def test_data_nested_too_deep_is_an_error_not_a_crash() -> None:
    deep: JSON = 1
    for _ in range(5_000):
        deep = [deep]
    for source in (
        "tojson",
        ". == $v",
        "walk(.)",
        "[tostream]",
        "contains($v)",
        "[.] - [$v]",
        "sort_by(.)",
        "error",
        "@json",
        '"\\(.)"',
        "flatten",
    ):
        expression = compile_expression(source, frozenset({"v"}))
        with pytest.raises(ExpressionError):
            expression.evaluate(deep, {"v": [deep]})
    assert compile_expression(".[0]", frozenset()).evaluate(deep, {}) is not None


def test_a_small_path_costs_one_step() -> None:
    budget = Budget()
    compile_expression(".a.b", frozenset()).evaluate({"a": {"b": 1}}, {}, budget)
    assert budget.used == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("[range(1e5)] as $a | [range(1000) | $a + $a]", "more than 4000000 items"),
        ('("x" * 1e6) as $a | [range(1000) | $a + $a]', "more than 32000000 characters"),
        ("def f: if . > 100000 then . else . + 1 | f end; 0 | f", "recurses too deeply"),
        ("[recurse(if . < 5000 then . + 1 else empty end)]", "recurses too deeply"),
    ],
)
def test_what_is_produced_and_recursion_are_bounded_besides_steps(
    source: str, message: str
) -> None:
    expression = compile_expression(f"0 | try ({source}) catch 1", frozenset())
    with pytest.raises(ExpressionError, match=message):
        expression.evaluate(None, {}, Budget(10_000_000))


def test_an_evaluation_has_its_own_allowance_of_what_it_produces() -> None:
    expression = compile_expression('"x" * 2e7 | length', frozenset())
    budget = Budget(1_000_000)
    assert expression.evaluate(None, {}, budget) == 20_000_000
    assert expression.evaluate(None, {}, budget) == 20_000_000


def test_functions_recurse_as_deeply_as_documented() -> None:
    source = "def f: if . == 500 then . else . + 1 | f end; f"
    assert compile_expression(source, frozenset()).evaluate(0, {}) == 500


def test_nested_values_are_ordered_in_linear_time() -> None:
    low: JSON = 1
    high: JSON = 2
    for _ in range(490):
        low, high = [low], [high]
    expression = compile_expression(
        "sort | .[0] == $low and .[-1] == $high", frozenset({"low", "high"})
    )
    began = time.process_time()
    assert expression.evaluate([high, low] * 20, {"low": low, "high": high}) is True
    assert time.process_time() - began < 2
