"""What is refused before anything runs, and where the problem is said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow

from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.durations import seconds_of
from zigflow_worker.errors import matches
from zigflow_worker.programs import compile_text, problems_in
from zigflow_worker.tasks.registry import TASK_KINDS
from zigflow_worker.validation import validate

HEAD = "document: {dsl: 1.0.3, namespace: test, name: example, version: 1.0.0}\n"


def problems_of(body: str, head: str = HEAD) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(head + body, TASK_KINDS)
    assert set(invalid.value.problems) <= set(problems_in(head + body, TASK_KINDS))
    return [(problem.pointer, problem.message) for problem in invalid.value.problems]


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ("do: []", "/do", "expected 1 or more tasks"),
        ("do: {a: 1}", "/do", "expected a list"),
        ("do: [{a: {set: {x: 1}}, b: {set: {x: 1}}}]", "/do/0", "expected a map with one key"),
        ("do: [{a: 5}]", "/do/0/a", "expected a map, not 5"),
        (
            "do: [{a: {sets: {x: 1}}}]",
            "/do/0/a",
            "expected a task: one of call, do, emit, for, fork, raise, set, switch, try, wait",
        ),
        ("do: [{a: {set: {x: 1}, wait: PT1S}}]", "/do/0/a", "not both 'set' and 'wait'"),
        ("do: [{a: {set: {x: 1}, unknown: 1}}]", "/do/0/a/unknown", "unknown key 'unknown'"),
        ("do: [{a: {set: {}}}]", "/do/0/a/set", "expected at least one value"),
        ("do: [{a: {listen: {}}}]", "/do/0/a/listen", "task kind 'listen' is not supported"),
        ("do: [{a: {run: {}}}]", "/do/0/a/run", "task kind 'run' is not supported"),
        (
            "do: [{a: {call: asyncapi}}]",
            "/do/0/a/call",
            "task kind 'call: asyncapi' is not supported",
        ),
        ("do: [{a: {call: 1}}]", "/do/0/a/call", "expected a string"),
        ("do: [{a: {for: {in: .x}}}]", "/do/0/a", "'do' is required"),
        ("do: [{a: {for: {}, do: []}}]", "/do/0/a/for", "'in' is required"),
        ("do: [{a: {for: {in: 5}, do: []}}]", "/do/0/a/for/in", "expected an expression or a list"),
        (
            "do: [{a: {for: {in: .x, each: input}, do: []}}]",
            "/do/0/a/for/each",
            "'input' is a variable of the language",
        ),
        (
            "do: [{a: {for: {in: .x, each: a-b}, do: []}}]",
            "/do/0/a/for/each",
            "not a variable name",
        ),
        ("do: [{a: {for: {in: .x, each: i, at: i}, do: []}}]", "/do/0/a", "both the item and"),
        ("do: [{a: {set: {x: 1}, then: b}}]", "/do/0/a/then", "neither a directive"),
        ("do: [{a: {do: [{b: {set: {x: 1}, then: a}}]}}]", "/do/0/a/do/0/b/then", "'a' is neither"),
        ("do: [{a: {switch: []}}]", "/do/0/a/switch", "at least one case"),
        ("do: [{a: {switch: [{c: {when: .x}}]}}]", "/do/0/a/switch/0/c", "'then' is required"),
        (
            "do: [{a: {switch: [{c: {then: end}}, {d: {then: end}}]}}]",
            "/do/0/a/switch/1/d",
            "only one case without 'when'",
        ),
        ("do: [{a: {switch: [{c: {then: x}}]}}]", "/do/0/a/switch/0/c/then", "'x' is neither"),
        ("do: [{a: {fork: {branches: []}}}]", "/do/0/a/fork/branches", "expected 1 or more"),
        (
            "do: [{a: {fork: {compete: 1, branches: [{b: {set: {x: 1}}}]}}}]",
            "/do/0/a/fork/compete",
            "expected true or false",
        ),
        (
            "do: [{a: {fork: {branches: [{b: {set: {x: 1}, then: c}}, {c: {set: {x: 1}}}]}}}]",
            "/do/0/a/fork/branches/0/b/then",
            "'c' is neither",
        ),
        ("do: [{a: {try: []}}]", "/do/0/a", "'catch' is required"),
        ("do: [{a: {try: [], catch: {retry: r}}}]", "/do/0/a/catch/retry", "'r' is not defined in"),
        (
            "do: [{a: {try: [], catch: {retry: {backoff: {linear: {}, constant: {}}}}}}]",
            "/do/0/a/catch/retry/backoff",
            "expected one of",
        ),
        (
            "do: [{a: {try: [], catch: {retry: {limit: {attempt: {count: -1}}}}}}]",
            "/do/0/a/catch/retry/limit/attempt/count",
            "must not be negative",
        ),
        (
            "do: [{a: {try: [], catch: {errors: {with: {status: '503'}}}}}]",
            "/do/0/a/catch/errors/with/status",
            "a status is a number",
        ),
        ("do: [{a: {try: [], catch: {then: x}}}]", "/do/0/a/catch/then", "'x' is neither"),
        ("do: [{a: {try: [], catch: {as: 1x}}}]", "/do/0/a/catch/as", "not a variable name"),
        ("do: [{a: {raise: {error: e}}}]", "/do/0/a/raise/error", "'e' is not defined"),
        ("do: [{a: {raise: {error: {type: t}}}}]", "/do/0/a/raise/error", "'status' is required"),
        (
            "do: [{a: {raise: {error: {type: t, status: high}}}}]",
            "/do/0/a/raise/error/status",
            "expected an integer",
        ),
        ("do: [{a: {wait: soon}}]", "/do/0/a/wait", "is not an ISO 8601 duration"),
        ("do: [{a: {wait: {weeks: 1}}}]", "/do/0/a/wait/weeks", "unknown unit 'weeks'"),
        ("do: [{a: {wait: PT1S, timeout: t}}]", "/do/0/a/timeout", "'t' is not defined in"),
        ("do: [{a: {wait: PT1S, if: 5}}]", "/do/0/a/if", "expected an expression, not 5: quote it"),
        ('do: [{a: {set: {x: "${ .[ }"}}}]', "/do/0/a/set/x", "invalid expression"),
        ('do: [{a: {set: {x: {y: ["${ $nope }"]}}}}]', "/do/0/a/set/x/y/0", "invalid expression"),
        ("do: [{a: {wait: PT1S, if: $input.x}}]", "/do/0/a/if", "invalid expression"),
        (
            "do: [{a: {wait: PT1S, input: {schema: {format: avro}}}}]",
            "/do/0/a/input/schema/format",
            "only 'json'",
        ),
        ("do: [{a: {wait: PT1S, input: {schema: {}}}}]", "/do/0/a/input/schema", "'document' or"),
        (
            "do: [{a: {wait: PT1S, output: {schema: {document: {$ref: 'http://x/y'}}}}}]",
            "/do/0/a/output/schema/document",
            "not a valid JSON Schema",
        ),
        ("do: [{a: {wait: PT1S, output: {as: 5}}}]", "/do/0/a/output/as", "expected an expression"),
        (
            "schedule: {cron: x}\ndo: [{a: {wait: PT1S}}]",
            "/schedule",
            "'schedule' is not supported",
        ),
        ("evaluate: {language: js}\ndo: [{a: {wait: PT1S}}]", "/evaluate/language", "only the"),
        (
            "evaluate: {mode: loose}\ndo: [{a: {wait: PT1S}}]",
            "/evaluate/mode",
            "the evaluation mode 'loose' is not supported",
        ),
        (
            "evaluate: {mode: lose}\ndo: [{a: {wait: PT1S}}]",
            "/evaluate/mode",
            "unknown evaluation mode 'lose'",
        ),
        ("do: [{a: {wait: PT1S, metadata: 5}}]", "/do/0/a/metadata", "expected a map"),
        (
            "do: [{a: {raise: {error: {type: 'not a uri', status: 500}}}}]",
            "/do/0/a/raise/error/type",
            "which has no blanks",
        ),
        (
            "use: {errors: {x: {type: 'not a uri', status: 500}}}\ndo: [{a: {wait: PT1S}}]",
            "/use/errors/x/type",
            "which has no blanks",
        ),
        ("do: [{a: {wait: {seconds: 1.5}}}]", "/do/0/a/wait", "must be a whole number"),
        (
            "do: [{a: {raise: {error: {type: t, status: 500.5}}}}]",
            "/do/0/a/raise/error/status",
            "expected an integer, not 500.5",
        ),
        (
            "use: {catalogs: {}}\ndo: [{a: {wait: PT1S}}]",
            "/use/catalogs",
            "'use.catalogs' is not",
        ),
    ],
)
def test_problems_are_placed(body: str, pointer: str, message: str) -> None:
    ((where, what),) = problems_of(body)
    assert where == pointer
    assert message in what


@pytest.mark.parametrize(
    ("head", "pointer", "message"),
    [
        ("document: {dsl: 1.0.3, namespace: a, name: b}\n", "/document", "'version' is required"),
        (HEAD.replace("example", "a b"), "/document/name", "not a valid name"),
        (HEAD.replace("1.0.3", "2.0.0"), "/document/dsl", "only version 1"),
        ("", "", "'document' is required"),
        ("document: []\n", "/document", "expected a map"),
    ],
)
def test_headers_are_checked(head: str, pointer: str, message: str) -> None:
    (where, what) = problems_of("do: [{a: {wait: PT1S}}]", head)[0]
    assert (where, message in what) == (pointer, True)


def test_all_problems_are_reported_in_order() -> None:
    body = """\
use: {errors: {e: {type: 1, status: 1}}, retries: {r: {delay: x}}}
do:
  - a: {set: {}}
  - a: {wait: PT1S}
  - b:
      do:
        - c: {wait: never}
"""
    assert [pointer for pointer, _ in problems_of(body)] == [
        "/use/errors/e/type",
        "/use/retries/r/delay",
        "/do/0/a/set",
        "/do/1/a",
        "/do/2/b/do/0/c/wait",
    ]


def test_syntax_errors_have_their_place_too() -> None:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text("do: [", TASK_KINDS)
    (problem,) = invalid.value.problems
    assert problem.line == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("PT30S", 30),
        ("P1DT2H3M4.5S", 93_784.5),
        ("P1Y2M3W", 31_536_000 + 5_184_000 + 1_814_400),
        ({"days": 1, "hours": 1, "minutes": 1, "seconds": 1, "milliseconds": 500}, 90_061.5),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert seconds_of(value) == seconds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    ["", "P", "PT", "1S", "P1S", "P200Y", {}, {"hours": -1}, {"hours": True}, {"days": 10**30}, 5],
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match=r"duration|unit|must be"):
        seconds_of(value)  # type: ignore[arg-type]


def test_standard_types_match_in_all_spellings() -> None:
    problem = {"type": "https://serverlessworkflow.io/dsl/errors/types/timeout", "status": 408}
    for base in (
        "https://open-workflow-specification.org/spec/1.0.0/errors/",
        "https://open-workflow-specification.org/dsl/errors/types/",
        "https://serverlessworkflow.io/spec/1.0.0/errors/",
    ):
        assert matches(problem, {"type": base + "timeout"})  # type: ignore[arg-type]
    assert not matches(problem, {"type": "timeout"})  # type: ignore[arg-type]
    assert not matches(problem, {"title": "Timeout"})  # type: ignore[arg-type]


def test_documents_are_compiled_once() -> None:
    text = HEAD + "do: [{a: {wait: PT1S}}]"
    assert compile_text(text, TASK_KINDS) is compile_text(text + "", TASK_KINDS)


def test_validate_prints_one_line_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(HEAD + "do:\n  - a: {set: {x: 1}, then: b}\n  - c: {listen: {}}\n")
    assert validate([str(file)]) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{file}:3:22: 'b' is neither a directive")
    assert first.endswith(" (/do/0/a/then)")
    assert second.startswith(f"{file}:4:9: task kind 'listen' is not supported")
    assert validate([str(file), "--output", "json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["problems"][1]["pointer"] == "/do/1/c/listen"
    file.write_text(HEAD + "do: [{a: {set: {x: 1}}}]")
    assert validate([str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert validate([str(tmp_path / "missing")]) == 1
    assert "missing" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["metadata: [a]", "metadata: text", "tags: [a]"])
def test_what_describes_a_document_is_a_map(part: str) -> None:
    head = HEAD.replace("version: 1.0.0", f"version: 1.0.0, {part}")
    [(pointer, message)] = problems_of("do: [{a: {wait: PT1S}}]", head)
    assert pointer == "/document/" + part.partition(":")[0]
    assert message == "expected a map"


@pytest.mark.parametrize(
    "body",
    [
        "do: [{a: {wait: {seconds: 1.0}}}]",
        "do: [{a: {raise: {error: {type: t, status: 500.0}}}}]",
        "do: [{a: {raise: {error: {type: '${ \"a b\" }', status: 500}}}}]",
        "use: {retries: {r: {limit: {attempt: {count: 2.0}}}}}\ndo: [{a: {wait: PT1S}}]",
        "do: [{a: {wait: PT1S, metadata: {any: [thing]}}}]",
    ],
)
def test_what_means_the_same_is_taken(body: str) -> None:
    assert compile_text(HEAD + body, TASK_KINDS).name == "example"
    assert problems_in(HEAD + body, TASK_KINDS) == ()


async def test_a_run_that_began_before_a_rule_is_replayed(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's fixture replays each history, where nothing says that there was a rule."""
    with monkeypatch.context() as before:
        before.setattr(workflow, "patched", lambda _: False)
        body = "do: [{a: {wait: PT1S, metadata: 5}}, {b: {set: {done: true}}}]"
        assert await engine.run(body) == {"done": True}


async def test_a_run_is_refused_by_a_rule(engine: Any) -> None:
    problem = await engine.fault("do: [{a: {wait: PT1S, metadata: 5}}]")
    assert problem["refusal"] == "INVALID_DOCUMENT"
