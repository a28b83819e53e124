"""Errors, retries, concurrency, time: raise, try, fork, wait, timeouts, cancellation."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

RAISE_503 = """\
raise: {error: {type: https://serverlessworkflow.io/dsl/errors/types/communication, status: 503}}"""


async def until_waiting(handle: WorkflowHandle[Any, Any], pointer: str) -> None:
    """Return once the run waits at a task."""
    async with asyncio.timeout(30):
        while True:
            status = await handle.query("status")
            if status["phase"] == "waiting" and pointer in status["tasks"]:
                return


async def trace_of(handle: WorkflowHandle[Any, Any]) -> list[tuple[str, str, int]]:
    return [
        (entry["name"], entry["status"], entry["attempt"]) for entry in await handle.query("trace")
    ]


# --- raise and try


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


async def test_the_failure_of_the_run_says_what_and_where(engine: Any) -> None:
    handle = await engine.start(engine.document(f"do:\n  - fail: {{{RAISE_503}}}"))
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert "communication at /do/0/fail" in str(failure.value.cause)
    assert (await handle.query("status"))["phase"] == "faulted"


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
    timers = [
        event.timer_started_event_attributes.start_to_fire_timeout.ToMilliseconds()
        for event in history.events
        if event.HasField("timer_started_event_attributes")
    ]
    assert sum(timers) == pytest.approx(seconds * 1000, abs=5)


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


# --- time


async def test_a_task_that_takes_too_long_can_be_caught_around_it(engine: Any) -> None:
    output = await engine.run(
        """
        use:
          timeouts: {short: {after: {milliseconds: 40}}}
        do:
          - outer:
              try:
                - slow:
                    timeout: short
                    do:
                      - inner:
                          try:
                            - long: {wait: {hours: 1}}
                          catch: {}
              catch:
                errors: {with: {status: 408}}
                do:
                  - note: {set: {at: "${ $error.instance }"}}
        """
    )
    assert output == {"at": "/do/0/outer/try/0/slow"}


async def test_a_workflow_that_takes_too_long_faults(engine: Any) -> None:
    problem = await engine.fault(
        """
        timeout: {after: {milliseconds: 50}}
        do:
          - attempt:
              try:
                - branches:
                    fork:
                      branches:
                        - a: {wait: PT1H}
                        - b: {wait: PT2H}
              catch: {}
        """
    )
    assert problem["type"].endswith("/errors/timeout")
    assert (problem["status"], problem["instance"]) == (408, "/")


async def test_a_busy_run_times_out_too(engine: Any) -> None:
    problem = await engine.fault(
        """
        timeout: {after: {milliseconds: 200}}
        do:
          - again:
              set: {n: "${ .n + 1 }"}
              then: again
        """
    )
    assert problem["status"] == 408


async def test_a_wait_may_be_computed(engine: Any) -> None:
    body = "do:\n  - pause: {wait: '${ .pause }'}"
    assert await engine.run(body, {"pause": "PT0.02S"}) == {"pause": "PT0.02S"}
    problem = await engine.fault(body, {"pause": "soon"})
    assert problem["detail"] == "'soon' is not an ISO 8601 duration such as PT30S"


async def test_cancelling_during_a_wait(engine: Any) -> None:
    handle = await engine.start(engine.document("do:\n  - long: {wait: P1D}"))
    await until_waiting(handle, "/do/0/long")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, CancelledError)
    assert await trace_of(handle) == [("long", "cancelled", 1)]
    assert (await handle.query("status"))["phase"] == "cancelled"


async def test_suspend_and_resume(engine: Any) -> None:
    handle = await engine.start(
        engine.document(
            "do:\n  - pause: {wait: {milliseconds: 300}}\n  - next: {set: {done: true}}"
        )
    )
    await until_waiting(handle, "/do/0/pause")
    await handle.signal("suspend")
    assert (await handle.query("status"))["phase"] == "suspended"
    async with asyncio.timeout(30):
        while not _timer_fired(await handle.fetch_history()):
            pass
    assert await trace_of(handle) == [("pause", "running", 1)]
    await handle.signal("resume")
    assert await handle.result() == {"done": True}


def _timer_fired(history: Any) -> bool:
    return any(event.HasField("timer_fired_event_attributes") for event in history.events)


# --- fork


async def test_branches_run_beside_each_other_and_keep_their_order(engine: Any) -> None:
    handle = await engine.start(
        engine.document(
            """
            do:
              - both:
                  fork:
                    branches:
                      - slow:
                          do:
                            - pause: {wait: {milliseconds: 80}}
                            - a: {set: {slow: "${ .n }"}}
                      - quick: {set: {quick: "${ .n }"}}
            """
        ),
        {"n": 1},
    )
    assert await handle.result() == [{"slow": 1}, {"quick": 1}]
    names = [name for name, _, _ in await trace_of(handle)]
    assert names == ["both", "slow", "pause", "quick", "a"]


async def test_one_branch_wins_and_the_others_stop(engine: Any) -> None:
    handle = await engine.start(
        engine.document(
            """
            do:
              - race:
                  fork:
                    compete: true
                    branches:
                      - slow: {wait: P1D}
                      - quick:
                          do:
                            - pause: {wait: {milliseconds: 20}}
                            - won: {set: {winner: quick}}
                      - never:
                          fork:
                            branches:
                              - x: {wait: P1D}
                              - y: {wait: P1D}
            """
        )
    )
    assert await handle.result() == {"winner": "quick"}
    stopped = {name for name, status, _ in await trace_of(handle) if status == "cancelled"}
    assert stopped == {"slow", "never", "x", "y"}


async def test_an_error_in_a_branch_stops_the_others_and_can_be_caught(engine: Any) -> None:
    output = await engine.run(
        f"""
        do:
          - attempt:
              try:
                - both:
                    fork:
                      branches:
                        - long: {{wait: P1D}}
                        - failing:
                            do:
                              - pause: {{wait: {{milliseconds: 20}}}}
                              - fail: {{{RAISE_503}}}
              catch:
                do:
                  - note: {{set: {{at: "${{ $error.instance }}"}}}}
        """
    )
    assert output == {"at": "/do/0/attempt/try/0/both/fork/branches/1/failing/do/1/fail"}


async def test_end_in_a_branch_ends_the_run(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - both:
              fork:
                branches:
                  - long: {wait: P1D}
                  - quits: {set: {over: true}, then: end}
          - after: {set: {wrong: true}}
        """
    )
    assert output == {"over": True}


async def test_loop_variables_reach_into_branches(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - loop:
              for: {each: n, in: "[1, 2]"}
              do:
                - both:
                    fork:
                      branches:
                        - a: {set: "${ $n * 10 }"}
                        - b: {set: "${ $n * 100 }"}
        """
    )
    assert output == [20, 200]


# --- limits


async def test_data_that_grows_too_large_fails_the_run(engine: Any) -> None:
    problem = await engine.fault(
        """
        do:
          - grow:
              set: {d: "${ [.d, .d] }"}
              then: grow
        """,
        {"d": "x" * 100},
    )
    assert problem["type"].endswith("/errors/runtime") or problem["type"].endswith(
        "/errors/expression"
    )


async def test_an_output_that_is_too_large_fails_the_run(engine: Any) -> None:
    problem = await engine.fault('do:\n  - t: {set: {a: "${ . }", b: "${ . }"}}', "x" * 1_000_000)
    assert problem["detail"].startswith("the output is larger than")


async def test_documents_that_are_not_valid_fail_the_run(engine: Any) -> None:
    problem = await engine.fault("do:\n  - t: {set: {a: 1}, then: nowhere}")
    assert problem["instance"] == "/do/0/t/then"
    assert "neither a directive" in problem["detail"]


@pytest.mark.parametrize("argument", [{"inputs": 1}, [1], {"document": 1}, {"options": {"x": 1}}])
async def test_a_start_input_of_another_shape_is_explained(engine: Any, argument: Any) -> None:
    handle = await engine.client.start_workflow(
        "example", argument, id=str(uuid.uuid4()), task_queue=engine.task_queue
    )
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert str(failure.value.cause).startswith("https://open-workflow") or "Configuration" in str(
        failure.value.cause
    )


async def test_documents_are_found_by_name_and_read_again(engine: Any, documents: Any) -> None:
    file = documents / "greet.yaml"
    file.write_text(engine.document("do:\n  - t: {set: {v: 1}}", name="greet"))
    for name in ("greet", "test.greet"):
        assert await (await engine.start(None, name=name)).result() == {"v": 1}
    file.write_text(engine.document("do:\n  - t: {set: {version: 2}}", name="greet"))
    assert await (await engine.start(None, name="greet")).result() == {"version": 2}
    handle = await engine.start(None, name="unknown")
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert "no document is named 'unknown'" in str(failure.value.cause)
