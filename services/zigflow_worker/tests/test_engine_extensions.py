"""Extensions: what they surround, what their tasks see, and what is left of their data."""

from __future__ import annotations

from typing import Any

import pytest

from services.zigflow_worker.tests.conftest import document
from services.zigflow_worker.tests.web_server import web_server
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AgentExecutionStatus,
    AgentOutput,
)
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

LOG = """
use:
  extensions:
    - logging:
        extend: %s
        before:
          - begun:
              set: {noise: "${ . }"}
              export: {as: "$context + {log: (($context.log // []) + ['>' + $task.name])}"}
        after:
          - ended:
              set: {noise: "${ . }"}
              export: {as: "$context + {log: (($context.log // []) + ['<' + $task.name])}"}
""".replace("'", '\\"')

TASKS = """
do:
  - compose:
      do:
        - count: {set: {n: 1}}
  - each:
      for: {in: "[1]"}
      do:
        - choose: {switch: [{any: {then: continue}}]}
  - beside:
      fork: {branches: [{pause: {wait: {milliseconds: 1}}}]}
  - careful:
      try: [{fail: {raise: {error: {type: urn:x, status: 500}}}}]
      catch: {do: [{tell: {emit: {event: {with: {type: t}}}}}]}
  - show: {call: list}
output: {as: .}
"""
LIST = "  functions:\n    list: {set: '${ $context.log }'}\n"


def around(*names: str) -> list[str]:
    return [mark + name for name in names for mark in "><"]


@pytest.mark.parametrize(
    ("extend", "log"),
    [
        ("set", [*around("count"), ">list"]),
        ("composite", [">compose", "<compose", ">beside", "<beside"]),
        ("for", [">each", "<each"]),
        ("switch", around("choose")),
        ("wait", around("pause")),
        ("raise", [">fail"]),
        ("try", [">careful", "<careful"]),
        ("emit", around("tell")),
        ("call", [">show"]),
        ("listen", None),
        ("run", None),
        (
            "all",
            [
                *(">compose", ">count", "<count", "<compose", ">each", ">choose", "<choose"),
                *("<each", ">beside", ">pause", "<pause", "<beside", ">careful", ">fail"),
                *(">tell", "<tell", "<careful", ">show", ">list"),
            ],
        ),
    ],
)
async def test_each_value_of_extend(engine: Any, extend: str, log: list[str] | None) -> None:
    assert await engine.run(LOG % extend + LIST + TASKS) == log


async def test_extensions_change_no_data_and_see_the_extended_task(engine: Any) -> None:
    output = await engine.run(
        """
        use:
          extensions:
            - look:
                extend: set
                when: .n > 1 and $task.definition.set.n != null
                before:
                  - inner:
                      do:
                        - keep:
                            set: {lost: true}
                            export:
                              as: '{before: {in: $input, task: $task, here: $workflow.input}}'
                after:
                  - keep:
                      input: {from: "{out: .}"}
                      set: {lost: true}
                      export: {as: "$context + {after: {in: $input, task: $task.output}}"}
        do:
          - small: {set: {n: 2, small: true}}
          - large:
              input: {from: "{n: (.n * 5)}"}
              set: {n: "${ .n + 1 }"}
              output: {as: "{result: .n, from: $input}"}
              then: show
          - never: {set: {n: 100}}
          - show: {set: {output: "${ . }", context: "${ $context }"}}
        """,
        {"n": 1},
    )
    assert output["output"] == {"result": 11, "from": {"n": 10}}
    before, after = output["context"]["before"], output["context"]["after"]
    assert before["in"] == {"n": 10}
    assert before["here"] == {"n": 1}
    assert (before["task"]["name"], before["task"]["reference"]) == ("large", "/do/1/large")
    assert before["task"]["input"] == {"n": 2, "small": True}
    assert (before["task"]["output"], after["task"]) == (None, {"n": 11})
    assert after["in"] == {"out": {"n": 11}}


EXIT = """
use:
  extensions:
    - first: {extend: call, before: [{nothing: {set: {x: 1}}}]}
    - mock:
        extend: call
        when: $task.name != "real"
        before:
          - prepare: {set: {of: "${ $task.name }"}}
          - leave:
              do:
                - only: {set: "${ . + {inner: true} }", then: exit}
                - never: {set: {never: true}}
          - exit: {if: .of == "mocked", set: "${ . + {mocked: true} }", then: exit}
          - more: {set: {lost: true}}
        after:
          - never:
              if: $task.name == "mocked"
              raise: {error: {type: urn:never, status: 500}}
    - third:
        extend: call
        before: [{also: {set: {x: 1}, export: {as: "{third: $task.name}"}}}]
  functions:
    f: {set: {real: true}}
"""


async def test_exit_in_before_makes_the_tasks_output_and_skips_the_rest(engine: Any) -> None:
    output = await engine.run(
        EXIT
        + """
do:
  - mocked: {call: f, output: {as: "{got: .}"}, then: show}
  - never: {set: {never: true}}
  - show: {set: {got: "${ .got }", context: "${ $context }"}, then: open}
  - skip: {set: {never: true}}
  - open: {call: f, output: {as: "{mocked: $input, real: .}"}}
""",
        {},
    )
    assert output == {
        "mocked": {"got": {"of": "mocked", "inner": True, "mocked": True}, "context": {}},
        "real": {"real": True},
    }


async def test_nothing_extends_the_tasks_of_an_extension_nor_what_they_call(engine: Any) -> None:
    output = await engine.run(
        """
        use:
          extensions:
            - count:
                extend: all
                before:
                  - counted: {call: count}
          functions:
            count:
              do:
                - one:
                    set: {lost: true}
                    export: {as: "$context + {n: (($context.n // 0) + 1), at: $task.name}"}
        do:
          - first: {set: {a: 1}}
          - second: {call: count}
          - third: {set: "${ $context }"}
        """,
        {},
    )
    # first, second, the function's two tasks and third; once by second itself.
    assert output == {"n": 6, "at": "one"}


async def test_directives_and_details_of_an_extended_task_hold(engine: Any, api: Any) -> None:
    api.ending = AgentExecutionStatus(
        phase=AGENT_EXECUTION_PHASE_COMPLETED, output=AgentOutput(json='{"n": 1}')
    )
    output = await engine.run(
        """
        use: {extensions: [{quiet: {extend: all, after: [{nothing: {set: {x: 1}}}]}}]}
        do:
          - choose: {switch: [{one: {when: .n == 1, then: ask}}]}
          - never: {set: {never: true}}
          - ask: {call: agent, with: {agent: a}, output: {as: "{id: $task.agent.executionId}"}}
          - stop: {set: "${ . }", then: end}
          - neither: {set: {never: true}}
        """,
        {"n": 1},
    )
    assert output == {"id": "agent-42"}


async def test_the_activity_of_an_extended_call_makes_output_and_context(
    engine: Any,
) -> None:
    async with web_server() as web:
        web.answer("/pet", '{"id": 1}', media_type="application/json")
        output = await engine.run(
            f"""
            use: {{extensions: [{{quiet: {{extend: call, after: [{{n: {{set: {{x: 1}}}}}}]}}}}]}}
            do:
              - get:
                  call: http
                  with:
                    method: get
                    endpoint: {{uri: '{web.url}/pet', authentication: {{bearer: {{token: t}}}}}}
                  output: {{as: "{{id, by: $authorization.scheme}}"}}
                  export: {{as: "{{seen: $output.id}}"}}
              - show: {{set: {{got: "${{ . }}", context: "${{ $context }}"}}}}
            """
        )
    assert output == {"got": {"id": 1, "by": "Bearer"}, "context": {"seen": 1}}


async def test_the_timeout_of_a_task_covers_its_extensions_and_errors_are_placed(
    engine: Any,
) -> None:
    problem = await engine.fault(
        """
        use: {extensions: [{slow: {extend: set, before: [{pause: {wait: PT1H}}]}}]}
        do: [{a: {set: {b: 1}, timeout: {after: {milliseconds: 50}}}}]
        """
    )
    assert (problem["status"], problem["instance"]) == (408, "/do/0/a")
    problem = await engine.fault(
        """
        use: {extensions: [{bad: {extend: set, before: [{fail: {set: "${ 1 / 0 }"}}]}}]}
        do: [{a: {set: {b: 1}}}]
        """
    )
    assert problem["instance"] == "/use/extensions/0/bad/before/0/fail"


async def test_extended_tasks_survive_each_continuation(engine: Any) -> None:
    body = """
        use:
          extensions:
            - around:
                extend: all
                when: $task.name == "left" or $task.name == "add"
                before: [{pause: {wait: {milliseconds: 2}}}]
                after: [{pause: {if: $task.output != null, wait: {milliseconds: 2}}}]
            - more:
                extend: composite
                before: [{pause: {wait: {milliseconds: 2}, input: {from: $task.name}}}]
        do:
          - both:
              fork:
                branches:
                  - left: {do: [{add: {set: {n: "${ .n + 1 }"}}}]}
                  - right: {try: [{add: {set: {n: "${ .n + 2 }"}}}], catch: {}}
          - last: {set: {sum: "${ [.[].n] | add }"}}
        """
    assert await engine.run(body, {"n": 1}, historyLength=12) == {"sum": 5}
    assert len([history async for history in engine.histories()]) > 1


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ("{}", "/use/extensions: expected a list, not a map"),
        ("[{a: {extend: set}, b: {extend: set}}]", "/use/extensions/0: expected a map with one"),
        ("[{a: {extend: set}}, {a: {extend: for}}]", "/1/a: two extensions are named 'a'"),
        ("[{a: {}}]", "/use/extensions/0/a: 'extend' is required"),
        ("[{a: {extend: do}}]", "/use/extensions/0/a/extend: 'do' is none of all, call, composi"),
        ("[{a: {extend: all, with: 1}}]", "/use/extensions/0/a/with: unknown key 'with'"),
        ("[{a: {extend: all, when: '. ='}}]", "/use/extensions/0/a/when: invalid expression"),
        ("[{a: {extend: all, before: {}}}]", "/before: expected a list, not a map"),
        ("[{a: {extend: all, after: [{b: {wait: soon}}]}}]", "/after/0/b/wait: 'soon' is not an"),
        (
            "[{a: {extend: all, before: [{b: {set: '${ $item }'}}]}}]",
            "/use/extensions/0/a/before/0/b/set: invalid expression",
        ),
        (
            "[{a: {extend: all, before: [{b: {set: {c: 1}, then: elsewhere}}]}}]",
            "/before/0/b/then: 'elsewhere' is neither a directive",
        ),
    ],
)
def test_wrong_extensions_are_found_before_a_run(extensions: str, problem: str) -> None:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(
            document(f"use: {{extensions: {extensions}}}\ndo: [{{a: {{set: {{b: 1}}}}}}]"),
            TASK_KINDS,
        )
    assert problem in str(invalid.value)
