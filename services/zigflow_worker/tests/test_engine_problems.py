"""Every mistake of a document in one run, and none that only follows from another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zigflow_worker.programs import problems_in
from zigflow_worker.tasks.registry import TASK_KINDS
from zigflow_worker.validation import MOST_PROBLEMS, validate

HEAD = "document: {dsl: 1.0.3, namespace: test, name: example, version: 1.0.0}\n"

MANY = """\
document: { dsl: '2.0.0', namespace: examples, name: a b, version: one, metadata: 5 }
schedule: { cron: x }
use:
  secrets: [api, 'b/d']
  errors:
    broken: { type: 'a b', status: high }
  retries:
    slow: { delay: soon, backoff: { linear: {}, constant: {} } }
  functions:
    http: { set: { x: 1 } }
    gross: { set: '${ .net * $rate }' }
    loop: { call: loop }
input:
  schema: { document: { type: objekt, properties: { a: { minLength: x } } } }
do:
  - first:
      call: http
      with:
        methud: get
        endpoint: 'https://x/{id'
        headers: [a]
        query: { a: '${ .[ }', b: '${ $nope + nofun(1) }' }
      outpt: { as: .x }
      then: nowhere
  - broken:
      sets: { x: 1 }
      then: third
  - second:
      try:
        - call1: { call: gros }
        - call2: { wait: PT1S, then: elsewhere }
      catch:
        retry: slow
        when: '.a <'
        do:
          - fix: { raise: { error: broken } }
          - fix: { raise: { error: unknown } }
  - third:
      for: { each: i, in: 5 }
      do:
        - a: { set: { x: '${ $i + $undefined }' }, if: 5 }
  - four:
      switch:
        - x: { when: '.a <', then: broken }
        - y: { than: end }
  - ask:
      call: agent
      with:
        spec: { modle: y, limits: { steps: many, costs: 1 } }
        config: { timeout: soon }
        sessionPolicy: ENQUEUE
"""


def found_in(text: str) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.message) for problem in problems_in(text, TASK_KINDS)]


def test_all_mistakes_are_told_at_once_in_their_order() -> None:
    problems = problems_in(MANY, TASK_KINDS)
    assert list(problems) == sorted(problems)
    assert [f"{each.line}:{each.pointer}" for each in problems] == [
        "1:/document/dsl",
        "1:/document/name",
        "1:/document/version",
        "1:/document/metadata",
        "2:/schedule",
        "4:/use/secrets/1",
        "6:/use/errors/broken/type",
        "6:/use/errors/broken/status",
        "8:/use/retries/slow/delay",
        "8:/use/retries/slow/backoff",
        "10:/use/functions/http",
        "11:/use/functions/gross/set",
        "12:/use/functions/loop/call",
        "14:/input/schema/document/type",
        "14:/input/schema/document/properties/a/minLength",
        "19:/do/0/first/with/methud",
        "20:/do/0/first/with/endpoint",
        "21:/do/0/first/with/headers",
        "22:/do/0/first/with/query/a",
        "22:/do/0/first/with/query/b",
        "22:/do/0/first/with/query/b",
        "23:/do/0/first/outpt",
        "24:/do/0/first/then",
        "25:/do/1/broken",
        "30:/do/2/second/try/0/call1/call",
        "31:/do/2/second/try/1/call2/then",
        "34:/do/2/second/catch/when",
        "37:/do/2/second/catch/do/1/fix",
        "37:/do/2/second/catch/do/1/fix/raise/error",
        "39:/do/3/third/for/in",
        "41:/do/3/third/do/0/a/set/x",
        "41:/do/3/third/do/0/a/if",
        "44:/do/4/four/switch/0/x/when",
        "45:/do/4/four/switch/1/y/than",
        "49:/do/5/ask/with/spec/modle",
        "49:/do/5/ask/with/spec/limits/steps",
        "49:/do/5/ask/with/spec/limits/costs",
        "50:/do/5/ask/with/config/timeout",
        "51:/do/5/ask/with/sessionPolicy",
    ]


CALL = "{call: http, with: {method: get, endpoint: {uri: 'http://x', authentication: A}}}"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        # A task that cannot be read still has its name, and so has what `use` defines.
        ("do: [{a: {sets: 1}}, {b: {wait: PT1S, then: a}}]", ["/do/0/a"]),
        ("do: [{a: {wait: x}}, {b: {wait: PT1S, then: a}}]", ["/do/0/a/wait"]),
        (
            "use: {retries: {r: {delay: x}}, errors: {e: 5}, timeouts: {t: 5}}\n"
            "do: [{a: {try: [{b: {raise: {error: e}, timeout: t}}], catch: {retry: r}}}]",
            ["/use/retries/r/delay", "/use/errors/e", "/use/timeouts/t"],
        ),
        (
            "use: {retries: 5, functions: [], secrets: {api: x}}\n"
            "do: [{a: {try: [{b: {call: f}}], catch: {retry: r}}}, {c: "
            + CALL.replace("A", "{bearer: {token: '${ $secrets.api }'}}")
            + "}]",
            ["/use/retries", "/use/functions", "/use/secrets"],
        ),
        ("uses: {errors: {}}\ndo: [{a: {raise: {error: e}}}]", ["/uses"]),
        ("use: {eror: {}}\ndo: [{a: {raise: {error: e}}}]", ["/use/eror"]),
        ("use: {functions: {f: {sets: 1}}}\ndo: [{a: {call: f}}]", ["/use/functions/f"]),
        (
            "use: {secrets: [{api: x}]}\ndo: [{a: "
            + CALL.replace("A", "{bearer: {use: api}}")
            + "}]",
            ["/use/secrets/0"],
        ),
        (
            "use: {authentications: {p: {basic: {}}}}\ndo: [{a: "
            + CALL.replace("A", "{use: p}")
            + "}]",
            ["/use/authentications/p/basic", "/use/authentications/p/basic"],
        ),
        # A misspelt key is not also a missing one, nor is what it would have said.
        (
            "do: [{a: {call: http, with: {methd: get, endpoint: 'http://x'}}}]",
            ["/do/0/a/with/methd"],
        ),
        ("do: [{a: {for: {eech: x, in: .y}, do: [{b: {set: '${ $x }'}}]}}]", ["/do/0/a/for/eech"]),
        ("do: [{a: {for: 5, do: [{b: {set: '${ $x }'}}]}}]", ["/do/0/a/for"]),
        (
            "do: [{a: {for: {in: .y, each: my-x}, do: [{b: {set: '${ $my-x }'}}]}}]",
            ["/do/0/a/for/each"],
        ),
        ("do: [{a: {try: [], catch: {as: 1x, when: $1x.status}}}]", ["/do/0/a/catch/as"]),
        (
            "do: [{a: {switch: [{b: {wen: .x, then: end}}, {c: {then: end}}]}}]",
            ["/do/0/a/switch/0/b/wen"],
        ),
        (
            "do: [{a: {foy: {each: x, in: .y}, while: $x, do: [{b: {set: '${ $x }', then: c}}]}}]",
            ["/do/0/a/foy", "/do/0/a/do/0/b/then"],
        ),
        ("do: [{a: {try: [], catch: {az: e, when: $e.status > 1}}}]", ["/do/0/a/catch/az"]),
        ("do: [{a: {switch: [{b: {then: []}}]}}]", ["/do/0/a/switch/0/b/then"]),
        (
            "do: [{a: {wait: PT1S, input: {schema: {documnt: {}}}}}]",
            ["/do/0/a/input/schema/documnt"],
        ),
        (
            "do: [{a: {call: agent, with: {agent: x, extra: '${ .[ }'}}}]",
            ["/do/0/a/with/extra"],
        ),
        (
            "use: {retries: {r: {backoff: {extra: 1}}}}\ndo: [{a: {wait: PT1S}}]",
            ["/use/retries/r/backoff/extra"],
        ),
        ("do: [{}, {a: {wait: PT1S, then: b}}]", ["/do/0"]),
        # An inline agent's key or value that is wrong whatever is in it.
        (
            "do: [{a: {call: agent, with: {spec: {modle: {a: 1, b: 2}, env: {c: 3, d: 4}}}}}]",
            ["/do/0/a/with/spec/modle", "/do/0/a/with/spec/env"],
        ),
        # Items with two tasks, or with a task that has no name.
        (
            "do: [{a: {wait: x}, b: {set: {}}}, {c: {wait: PT1S, then: b}}]",
            ["/do/0", "/do/0/a/wait", "/do/0/b/set"],
        ),
        ("do: [{a: null, set: {x: 1}}, {c: {wait: PT1S, then: a}}]", ["/do/0"]),
        ("do: [a, {c: {wait: PT1S, then: a}}]", ["/do/0"]),
        ("do: {a: {wait: x}, b: {set: {}}}", ["/do", "/do/a/wait", "/do/b/set"]),
        # What is not jq is not judged as such.
        (
            "evaluate: {language: js, mode: loose}\ndo: [{a: {set: '${ x.y() === 1 }'}}]",
            ["/evaluate/language", "/evaluate/mode"],
        ),
        # Reading goes on after what only YAML can say.
        (
            "do: [{a: {set: {x: .inf, x: 1}}}, {b: {wait: *none}}, {1: {wait: x}}]",
            ["/do/0/a/set/x", "/do/0/a/set", "/do/1/b/wait", "/do/2", "/do/2/1/wait"],
        ),
        (
            "x: &x {set: {y: 1}}\ndo: [{a: {<<: *x}}, {b: {set: !!binary x}}]\n--- 5",
            ["/x", "/do/0/a", "", ""],
        ),
        ("do: [{a: {wait: x}}]\nuse: {errors: {a: {", [""]),
    ],
)
def test_what_follows_from_a_mistake_is_none(body: str, pointers: list[str]) -> None:
    assert [pointer for pointer, _ in found_in(HEAD + body)] == pointers, found_in(HEAD + body)


def test_a_text_that_is_no_document_has_one_problem() -> None:
    assert [message for _, message in found_in("5")] == ["expected a map, not 5"]
    assert [message for _, message in found_in("")] == ["the document is empty"]


def test_a_document_that_takes_too_long_has_its_other_problems_too() -> None:
    tasks = "".join(
        f"  - t{index}: {{set: {{x: '${{ .a + {index} }}'}}}}\n" for index in range(800)
    )
    found = found_in(f"{HEAD}do:\n  - first: {{wait: x}}\n  - last: {{set: '${{ $y }}'}}\n{tasks}")
    assert [pointer for pointer, _ in found[:2]] == ["/do/0/first/wait", "/do/1/last/set"]
    assert found[2][1].startswith("the document is too large")


def test_the_number_of_problems_is_bounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "many.yaml"
    tasks = ", ".join(f"{{t{index}: {{wait: x}}}}" for index in range(MOST_PROBLEMS + 20))
    file.write_text(f"{HEAD}do: [{tasks}]")
    assert validate([str(file)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"{file}:2:12: 'x' is not an ISO 8601 duration such as PT30S (/do/0/t0/wait)"
    )
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == "and 20 more"
    assert validate([str(file), "--output", "json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (len(report["problems"]), report["more"]) == (MOST_PROBLEMS, 20)


def test_a_list_of_documents_is_checked_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "documents.json"
    many = ", ".join(f"{{t{index}: {{wait: x}}}}" for index in range(MOST_PROBLEMS + 1))
    tasks = ("[{a: {wait: PT1S}}]", "[{a: {wait: x}}]", f"[{many}]")
    file.write_text(json.dumps([*(f"{HEAD}do: {each}" for each in tasks), "["]))
    assert validate([str(file), "--list"]) == 0
    fine, wrong, bounded, broken = json.loads(capsys.readouterr().out)
    assert fine == {"valid": True, "problems": []}
    assert [each["pointer"] for each in wrong["problems"]] == ["/do/0/a/wait"]
    assert (len(bounded["problems"]), bounded["more"]) == (MOST_PROBLEMS, 1)
    assert (broken["valid"], len(broken["problems"])) == (False, 1)
