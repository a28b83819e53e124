"""Order and data: do, set, switch, for, and what surrounds every task."""

from __future__ import annotations

import json
from typing import Any

import pytest


async def test_tasks_run_in_order_each_on_the_output_of_the_one_before(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - first:
              set: {x: "${ .n + 1 }"}
          - pause:
              wait: {milliseconds: 20}
          - inner:
              do:
                - second:
                    set: {y: "${ .x * 2 }"}
                    output: {as: "{y, before: $input}"}
        """,
        {"n": 1},
    )
    assert output == {"y": 4, "before": {"x": 2}}


async def test_a_skipped_task_passes_its_input_on_and_ignores_its_directive(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - skipped:
              if: .n > 5
              set: {n: 100}
              then: end
          - taken:
              if: ${ .n < 5 }
              set: {n: "${ .n + 1 }"}
        """,
        {"n": 1},
    )
    assert output == {"n": 2}


async def test_input_output_and_export_transform_and_context_lasts(engine: Any) -> None:
    output = await engine.run(
        """
        input:
          from: .wrapped
        output:
          as: "{result: ., context: $context, id: ($workflow.id | type)}"
        do:
          - one:
              input: {from: "{v: .value, ctx: $context.value}"}
              set: {sum: "${ .v + $input.ctx }"}
              output: {as: "{sum, raw: $task.output.sum}"}
              export: {as: "$context + {seen: $output.raw}"}
          - two:
              set: {value: "${ $context.seen }", ref: "${ $task.reference }"}
        """,
        {"wrapped": {"value": 4}},
    )
    assert output == {
        "result": {"value": 8, "ref": "/do/1/two"},
        "context": {"value": 4, "seen": 8},
        "id": "string",
    }


SCHEMA = "{document: {type: object, required: [n], properties: {n: {type: integer}}}}"


@pytest.mark.parametrize(
    ("place", "instance"),
    [
        (f"input: {{schema: {SCHEMA}}}\ndo:\n  - t: {{set: {{n: 1}}}}", "/"),
        (f"output: {{schema: {SCHEMA}}}\ndo:\n  - t: {{set: {{n: x}}}}", "/"),
        (f"do:\n  - t:\n      input: {{schema: {SCHEMA}}}\n      set: {{n: 1}}", "/do/0/t"),
        (f"do:\n  - t:\n      output: {{schema: {SCHEMA}}}\n      set: {{n: x}}", "/do/0/t"),
        (
            f"do:\n  - t:\n      export: {{schema: {SCHEMA}, as: '{{m: 1}}'}}\n      set: {{n: 1}}",
            "/do/0/t",
        ),
    ],
    ids=["workflow input", "workflow output", "task input", "task output", "context"],
)
async def test_schemas_are_enforced(engine: Any, place: str, instance: str) -> None:
    problem = await engine.fault(place, {"n": "text"})
    assert problem["type"].endswith("/spec/1.0.0/errors/validation")
    assert (problem["status"], problem["instance"]) == (400, instance)


async def test_flow_directives(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - begin:
              set: {log: [begin]}
              then: inner
          - never:
              set: {log: [never]}
          - inner:
              do:
                - leave:
                    set: {log: "${ .log + [\\"leave\\"] }"}
                    then: exit
                - notReached:
                    set: {log: [wrong]}
          - back:
              switch:
                - again:
                    when: (.log | length) < 4
                    then: inner
                - done:
                    then: last
          - last:
              set: {log: "${ .log + [\\"last\\"] }"}
              then: end
          - after:
              set: {log: [after]}
        """
    )
    assert output == {"log": ["begin", "leave", "leave", "leave", "last"]}


async def test_end_ends_the_whole_run_from_inside(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - outer:
              for: {in: "[1, 2, 3]"}
              do:
                - check:
                    switch:
                      - two: {when: $item == 2, then: finish}
                      - other: {then: exit}
                - finish:
                    set: {stoppedAt: "${ $item }"}
                    then: end
              output: {as: '"not applied"'}
          - after:
              set: {wrong: true}
        """
    )
    assert output == {"stoppedAt": 2}


async def test_for_with_own_names_while_and_nesting(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - rows:
              for: {each: row, in: .rows, at: r}
              while: $r < 2
              do:
                - columns:
                    for: {each: cell, in: $row}
                    do:
                      - add:
                          set: {sum: "${ .sum + $cell * (10 | pow(.; $r)) }"}
        """,
        {"rows": [[1, 2], [3], [100]]},
    )
    assert output == {"sum": 33}


async def test_for_over_an_inline_list_and_over_nothing(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - inline:
              for:
                in: [{name: "${ .first }"}, {name: b}]
              do:
                - collect:
                    set: {names: "${ .names + [$item.name] }"}
          - nothing:
              for: {in: "[]"}
              do:
                - never:
                    set: {names: []}
        """,
        {"first": "a"},
    )
    assert output == {"names": ["a", "b"]}


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "a boolean"), (1, "a number"), ("a", "a string"), ({}, "an object")],
)
async def test_for_needs_a_list(engine: Any, value: Any, kind: str) -> None:
    body = "do:\n  - loop: {for: {in: .x}, do: [{t: {set: {a: 1}}}]}"
    problem = await engine.fault(body, {"x": value})
    assert problem["detail"] == f"'for.in' must give a list, not {kind}"
    assert problem["type"].endswith("/errors/expression")
    assert problem["instance"] == "/do/0/loop"


async def test_expression_errors_name_their_task(engine: Any) -> None:
    problem = await engine.fault(
        """
        do:
          - outer:
              do:
                - bad/name:
                    set: {x: "${ .a + 1 }"}
        """,
        {"a": {}},
    )
    assert problem["instance"] == "/do/0/outer/do/0/bad~1name"
    assert problem["status"] == 400


async def test_blocks_nest_90_deep(engine: Any) -> None:
    task: dict[str, Any] = {"set": {"depth": "${ .depth + 1 }"}}
    for _ in range(90):
        task = {"do": [{"t": task}]}
    output = await engine.run("do: " + json.dumps([{"t": task}]), {"depth": 0})
    assert output == {"depth": 1}


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.soak)])
async def test_many_iterations_are_one_run_and_few_events(engine: Any, count: int) -> None:
    handle = await engine.start(LOOP, {"count": count})
    assert await handle.result() == {"n": count}
    history = await handle.fetch_history()
    assert len(history.events) < 100


LOOP = """\
document: {dsl: '1.0.3', namespace: test, name: loop, version: '1.0.0'}
do:
  - loop:
      for: {in: "[range(.count)]"}
      do:
        - count:
            set: {n: "${ .n + 1 }"}
"""


async def test_runtime_descriptors(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - look:
              set:
                runtime: ${ $runtime.name }
                name: ${ $workflow.definition.document.name }
                input: ${ $workflow.input }
                started: ${ $workflow.startedAt.epoch.seconds | type }
                task: ${ $task.name }
                when: ${ $task.startedAt.iso8601 | test("^[0-9]{4}-.*Z$") }
        """,
        [1],
    )
    assert output == {
        "runtime": "stigma",
        "name": "example",
        "input": [1],
        "started": "number",
        "task": "look",
        "when": True,
    }
