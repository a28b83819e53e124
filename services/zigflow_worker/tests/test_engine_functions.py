"""Functions of a document: their data, their errors, and those that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from services.zigflow_worker.tests.conftest import document
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

SHOUT = """
use:
  functions:
    shout:
      if: .text != null
      input:
        schema: {document: {type: object}}
        from: '{text: (.text | ascii_upcase), mark: (.mark // "!")}'
      set: {text: "${ .text + .mark }"}
      output: {as: .text}
      export: {as: "$context + {shouted: (($context.shouted // []) + [.])}"}
"""


async def test_a_function_has_its_arguments_as_input_and_its_own_rules(engine: Any) -> None:
    output = await engine.run(
        SHOUT
        + """
do:
  - loud:
      input: {from: .message}
      call: shout
      with: {text: "${ . }"}
      output: {as: "{said: ., from: $input}"}
      export: {as: "$context + {by: $task.name}"}
  - louder:
      call: shout
      with: {text: "${ .said }", mark: "?"}
  - silent:
      call: shout
      with: {}
  - all: {set: {context: "${ $context }", silent: "${ . }"}}
""",
        {"message": "hello"},
    )
    assert output == {
        "context": {"message": "hello", "shouted": ["HELLO!", "HELLO!?"], "by": "loud"},
        "silent": {},
    }


async def test_without_arguments_a_function_gets_the_tasks_input(engine: Any) -> None:
    output = await engine.run(
        """
        use: {functions: {twice: {set: {n: "${ .n * 2 }"}}}}
        do:
          - one: {call: twice}
          - two: {call: twice, input: {from: "{n: (.n + 1)}"}}
        """,
        {"n": 5},
    )
    assert output == {"n": 22}


async def test_functions_of_every_kind_call_others_and_survive_each_continuation(
    engine: Any,
) -> None:
    body = """
        use:
          functions:
            sum:
              for: {each: n, in: .numbers}
              do:
                - add: {call: add, with: {total: "${ .total // 0 }", more: "${ $n }"}}
            add:
              do:
                - pause: {wait: {milliseconds: 5}}
                - sum: {set: {total: "${ .total + .more }"}}
            both:
              fork:
                branches:
                  - small: {call: sum, with: {numbers: [1, 2]}}
                  - large: {call: sum, with: {numbers: [10, 20]}}
        do:
          - all: {call: both}
        """
    assert await engine.run(body, historyLength=6) == [{"total": 3}, {"total": 30}]
    assert len([history async for history in engine.histories()]) > 1


async def test_end_inside_a_function_ends_the_run(engine: Any) -> None:
    output = await engine.run(
        """
        use: {functions: {stop: {set: {stopped: true}, then: end}}}
        do:
          - stop: {call: stop}
          - never: {set: {never: true}}
        """
    )
    assert output == {"stopped": True}


FAILING = """
use:
  functions:
    inner:
      do:
        - fail:
            raise: {error: {type: urn:broken, status: 500, title: Broken%s}}
    outer:
      do:
        - first: {set: {a: 1}}
        - second: {call: inner}
do:
  - begin: {set: {b: 1}}
  - attempt: {call: outer}
"""


async def test_an_error_names_the_calling_task_and_the_place_in_the_function(engine: Any) -> None:
    assert await engine.fault(FAILING % ", detail: It broke") == {
        "type": "urn:broken",
        "status": 500,
        "title": "Broken",
        "detail": "It broke (/use/functions/inner/do/0/fail) (/use/functions/outer/do/1/second)",
        "instance": "/do/1/attempt",
    }
    without_detail = await engine.fault(FAILING % "")
    assert without_detail["detail"].startswith("/use/functions/inner/do/0/fail")


async def test_the_innermost_places_of_many_functions_are_kept(engine: Any) -> None:
    functions = "".join(f"    f{n}: {{call: f{n + 1}}}\n" for n in range(300))
    problem = await engine.fault(
        f"use:\n  functions:\n{functions}    f300: {{raise: {{error: {{type: t, status: 500}}}}}}\n"
        "do: [{a: {call: f0}}]"
    )
    assert problem["instance"] == "/do/0/a"
    assert problem["detail"].startswith("/use/functions/f300 (/use/functions/f299) (")
    assert 1_900 < len(problem["detail"]) <= 2_000


async def test_a_try_inside_a_function_sees_the_place_in_it_and_its_author_may_set_one(
    engine: Any,
) -> None:
    output = await engine.run(
        """
        use:
          functions:
            careful:
              try:
                - fail: {raise: {error: {type: urn:a, status: 500}}}
              catch: {do: [{tell: {set: {at: "${ $error.instance }"}}}]}
            own:
              raise: {error: {type: urn:b, status: 400, instance: /my/place}}
        do:
          - inside: {call: careful}
          - outside:
              try: [{fail: {call: own}}]
              catch: {do: [{tell: {set: {at: "${ [.at, $error.instance] }"}}}]}
        """
    )
    assert output == {"at": ["/use/functions/careful/try/0/fail", "/my/place"]}


@pytest.mark.parametrize(
    ("inside", "around", "detail"),
    [
        ("timeout: {after: {milliseconds: 60}}", "", "(/use/functions/slow)"),
        ("", "timeout: {after: {milliseconds: 60}}", "the time allowed has passed"),
    ],
)
async def test_the_timeouts_of_a_function_and_of_its_call_both_hold(
    engine: Any, inside: str, around: str, detail: str
) -> None:
    problem = await engine.fault(
        f"""
        use:
          functions:
            slow:
              wait: PT1H
              {inside}
        do:
          - call:
              call: slow
              {around}
        """
    )
    assert (problem["status"], problem["instance"]) == (408, "/do/0/call")
    assert problem["detail"].endswith(detail)


async def test_an_input_that_breaks_the_functions_schema_is_a_validation_error(
    engine: Any,
) -> None:
    problem = await engine.fault(
        """
        use:
          functions:
            strict: {input: {schema: {document: {type: object}}}, set: {a: 1}}
        do: [{a: {call: strict}}]
        """,
        [1],
    )
    assert problem["type"].endswith("/errors/validation")
    assert problem["instance"] == "/do/0/a"
    assert problem["detail"].endswith("(/use/functions/strict)")


ONE = "use: {functions: {one: {set: {a: 1}}, two: {set: {a: 2}}}}\n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (ONE + "do: [{a: {call: three}}]", "/do/0/a/call: 'three' is neither a call of the"),
        (ONE + "do: [{a: {call: three}}]", "nor one of its functions: one, two"),
        ("do: [{a: {call: one}}]", "/do/0/a/call: 'one' is neither a call of the language nor a"),
        (ONE + "do: [{a: {call: one, with: 5}}]", "/do/0/a/with: expected a map, not 5"),
        (ONE + "do: [{a: {call: one, using: {}}}]", "/do/0/a/using: unknown key 'using'"),
        (ONE + "do: [{a: {call: one, with: {b: '${ }'}}}]", "/do/0/a/with/b: invalid expression"),
        (ONE + "do: [{a: {call: 'one:1.0.0@default'}}]", "functions of catalogs are not supported"),
        ("do: [{a: {call: https://example.com/function.yaml}}]", "functions of catalogs are not"),
        ("do: [{a: {call: mcp, with: {}}}]", "task kind 'call: mcp' is not supported in this"),
        (
            "use: {functions: {http: {set: {a: 1}}}}\ndo: [{a: {wait: PT1S}}]",
            "/use/functions/http: a function cannot have the name 'http'",
        ),
        (
            "use: {functions: {'a:b': {set: {a: 1}}}}\ndo: [{a: {wait: PT1S}}]",
            "/use/functions/a:b: 'a:b' is not a function's name",
        ),
        (
            "use: {functions: {a: {wait: soon}}}\ndo: [{a: {wait: PT1S}}]",
            "/use/functions/a/wait: 'soon' is not an ISO 8601 duration",
        ),
        (
            "use: {functions: {a: {set: '${ $item }'}}}\n"
            "do: [{a: {for: {in: '[1]'}, do: [{b: {call: a}}]}}]",
            "/use/functions/a/set: invalid expression",
        ),
        (
            "use: {functions: {a: {call: a}}}\ndo: [{a: {wait: PT1S}}]",
            "/use/functions/a/call: a function cannot call itself: a → a",
        ),
        (
            "use:\n  functions:\n    a: {do: [{x: {call: b}}]}\n    b: {call: c}\n"
            "    c: {try: [{x: {call: a}}], catch: {}}\ndo: [{a: {call: b}}]",
            "/use/functions/c/try/0/x/call: a function cannot call itself: a → b → c → a",
        ),
    ],
)
def test_wrong_functions_are_found_before_a_run(body: str, problem: str) -> None:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(document(body), TASK_KINDS)
    assert problem in str(invalid.value)


def test_a_chain_of_functions_may_be_as_long_as_a_document() -> None:
    functions = "".join(f"    f{n}: {{call: f{n + 1}}}\n" for n in range(600))
    compile_text(
        document(
            f"use:\n  functions:\n{functions}    f600: {{wait: PT1S}}\ndo: [{{a: {{call: f0}}}}]"
        ),
        TASK_KINDS,
    )
