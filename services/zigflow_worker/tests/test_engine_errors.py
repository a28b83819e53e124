"""Errors and retries: raise and try."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

RAISE_503 = """\
raise: {error: {type: https://serverlessworkflow.io/dsl/errors/types/communication, status: 503}}"""


async def test_raise_by_reference_with_expressions(engine: Any) -> None:
    problem = await engine.fault(
        """
        use:
          errors:
            gone:
              type: https://example.com/errors/gone
              status: 410
              title: Gone
              detail: ${ "no \\(.what) here" }
        do:
          - fail:
              raise: {error: gone}
        """,
        {"what": "cheese"},
    )
    assert problem == {
        "type": "https://example.com/errors/gone",
        "status": 410,
        "title": "Gone",
        "detail": "no cheese here",
        "instance": "/do/0/fail",
    }


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ("{type: t, status: '${ .text }'}", "the status of an error must be an integer"),
        ("{type: t, status: 1, title: '${ .number }'}", "the title of an error must be a string"),
        ("{type: '${ .nothing }', status: 1}", "the type of an error must be a string"),
    ],
)
async def test_errors_computed_wrong_are_errors_too(engine: Any, error: str, detail: str) -> None:
    body = f"do:\n  - fail: {{raise: {{error: {error}}}}}"
    problem = await engine.fault(body, {"text": "x", "number": 1})
    assert (problem["detail"], problem["instance"]) == (detail, "/do/0/fail")


async def test_half_a_surrogate_pair_in_an_error_does_not_hide_it(engine: Any) -> None:
    detail = """'${ "half \\ud800 a pair" }'"""
    problem = await engine.fault(
        f"do: [{{fail: {{raise: {{error: {{type: t, status: 400, detail: {detail}}}}}}}}}]"
    )
    assert problem["detail"] == "half \ufffd a pair"


async def test_the_failure_of_the_run_says_what_and_where(engine: Any) -> None:
    handle = await engine.start(engine.document(f"do:\n  - fail: {{{RAISE_503}}}"))
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert "communication at /do/0/fail" in str(failure.value.cause)
    assert (await handle.query("status"))["phase"] == "faulted"


@pytest.mark.parametrize(
    "failing",
    [
        RAISE_503,
        "set: {x: '${ error }'}",
        "input: {schema: {document: {type: string}}}, set: {x: 1}",
        "set: {x: 1}, output: {schema: {document: {type: string}}}",
        "do: [], output: {schema: {document: {type: string}}}",
        "for: {in: .nothing}, do: []",
    ],
)
async def test_a_task_that_fails_has_ended(engine: Any, failing: str) -> None:
    body = f"""
        do:
          - attempt:
              try:
                - fail: {{{failing}}}
              catch: {{}}
          - last: {{{failing}}}
        """
    handle = await engine.start(engine.document(body), {})
    await engine.fault_of(handle)
    trace = {entry["name"]: entry for entry in await handle.query("trace")}
    statuses = {name: entry["status"] for name, entry in trace.items()}
    assert statuses == {"attempt": "completed", "fail": "faulted", "last": "faulted"}
    assert all(entry["ended"] for entry in trace.values())
    assert (await handle.query("status"))["tasks"] == []


@pytest.mark.parametrize(
    ("catch", "caught"),
    [
        ("{}", True),
        ("errors: {with: {status: 503}}", True),
        ("errors: {with: {status: 404}}", False),
        (
            "errors: {with: {type: "
            "https://open-workflow-specification.org/spec/1.0.0/errors/communication}}",
            True,
        ),
        ("errors: {with: {type: https://example.com/communication}}", False),
        ("errors: {with: {instance: /do/0/attempt/try/0/fail}}", True),
        ("when: $error.status > 500", True),
        ("when: $error.status > 503", False),
        ("{as: problem, exceptWhen: $problem.status == 503}", False),
    ],
)
async def test_catch_filters(engine: Any, catch: str, caught: bool) -> None:
    catch = catch if catch.startswith("{") else f"{{{catch}}}"
    body = f"do:\n  - attempt:\n      try:\n        - fail: {{{RAISE_503}}}\n      catch: {catch}"
    if caught:
        assert await engine.run(body, {"kept": 1}) == {"kept": 1}
    else:
        assert (await engine.fault(body))["status"] == 503


async def test_a_handler_sees_the_error_and_leads_the_flow(engine: Any) -> None:
    output = await engine.run(
        f"""
        do:
          - attempt:
              try:
                - fail: {{{RAISE_503}}}
              catch:
                as: problem
                do:
                  - note:
                      set: {{at: "${{ $problem.instance }}"}}
                then: handled
          - notHere:
              set: {{wrong: true}}
          - handled:
              set: {{at: "${{ .at }}", handled: true}}
        """
    )
    assert output == {"at": "/do/0/attempt/try/0/fail", "handled": True}


async def test_errors_of_a_handler_are_for_the_try_around_it(engine: Any) -> None:
    output = await engine.run(
        f"""
        do:
          - outer:
              try:
                - inner:
                    try:
                      - fail: {{{RAISE_503}}}
                    catch:
                      do:
                        - again:
                            raise: {{error: {{type: urn:second, status: 500}}}}
              catch:
                errors: {{with: {{type: urn:second}}}}
                do:
                  - note: {{set: {{from: "${{ $error.instance }}"}}}}
        """
    )
    assert output == {"from": "/do/0/outer/try/0/inner/catch/do/0/again"}


def retried(backoff: str, count: int) -> str:
    return f"""
        use:
          retries:
            patient:
              delay: {{milliseconds: 40}}
              backoff: {{{backoff}: {{}}}}
              limit: {{attempt: {{count: {count}}}}}
        do:
          - attempt:
              try:
                - count:
                    set: ${{ .tries }}
                    export: {{as: "{{tries: (($context.tries // 0) + 1)}}"}}
                - decide:
                    switch:
                      - enough: {{when: $context.tries == 4, then: done}}
                      - more: {{then: fail}}
                - fail: {{{RAISE_503}}}
                - done:
                    set: {{tries: "${{ $context.tries }}"}}
              catch:
                retry: patient
        """


@pytest.mark.parametrize(
    ("backoff", "seconds"), [("constant", 0.12), ("linear", 0.24), ("exponential", 0.28)]
)
async def test_retries_back_off_until_they_succeed(
    engine: Any, backoff: str, seconds: float
) -> None:
    handle = await engine.start(engine.document(retried(backoff, 3)), {})
    assert await handle.result() == {"tries": 4}
    trace = await handle.query("trace")
    assert [e["attempt"] for e in trace if e["name"] == "fail"] == [1, 2, 3]
    history = await handle.fetch_history()
    waits = [
        json.loads(event.activity_task_scheduled_event_attributes.input.payloads[0].data)
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert sum(waits) == pytest.approx(seconds, abs=0.005)


async def test_retries_end_with_the_error(engine: Any) -> None:
    assert (await engine.fault(retried("constant", 2), {}))["status"] == 503


async def test_after_the_last_retry_the_handler_runs(engine: Any) -> None:
    output = await engine.run(
        f"""
        do:
          - attempt:
              try:
                - fail: {{{RAISE_503}}}
              catch:
                retry:
                  when: $error.status == 503
                  exceptWhen: $error.status == 404
                  limit: {{attempt: {{count: 2}}, duration: PT1M}}
                  jitter: {{from: {{milliseconds: 1}}, to: {{milliseconds: 5}}}}
                do:
                  - note: {{set: {{gaveUp: true}}}}
        """
    )
    assert output == {"gaveUp": True}


@pytest.mark.parametrize(
    "retry",
    [
        "{when: $error.status == 404}",
        "{exceptWhen: $error.status == 503}",
        "{delay: PT1H, limit: {duration: PT1M}}",
    ],
)
async def test_some_errors_are_not_retried(engine: Any, retry: str) -> None:
    problem = await engine.fault(
        f"do:\n  - t:\n      try:\n        - fail: {{{RAISE_503}}}\n      catch: {{retry: {retry}}}"
    )
    assert problem["instance"] == "/do/0/t/try/0/fail"


async def test_each_attempt_may_have_a_time_limit(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - attempt:
              try:
                - long: {wait: PT1H}
              catch:
                retry:
                  limit: {attempt: {count: 1, duration: {milliseconds: 30}}}
                do:
                  - note: {set: {type: "${ $error.type }", at: "${ $error.instance }"}}
        """
    )
    assert re.fullmatch(".*/errors/timeout", output["type"])
    assert output["at"] == "/do/0/attempt/try"
