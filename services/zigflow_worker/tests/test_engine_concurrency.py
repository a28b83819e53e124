"""Time and concurrency: wait, timeouts, cancellation, suspension, fork."""

from __future__ import annotations

import asyncio
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


async def test_suspend_and_resume(engine: Any, short_waits: asyncio.Event) -> None:
    handle = await engine.start(
        engine.document(
            "do:\n  - pause: {wait: {milliseconds: 300}}\n  - next: {set: {done: true}}"
        )
    )
    await until_waiting(handle, "/do/0/pause")
    await handle.signal("suspend")
    assert (await handle.query("status"))["phase"] == "suspended"
    short_waits.set()
    async with asyncio.timeout(30):
        while not _wait_is_over(await handle.fetch_history()):
            pass
    assert await trace_of(handle) == [("pause", "running", 1)]
    await handle.signal("resume")
    assert await handle.result() == {"done": True}


def _wait_is_over(history: Any) -> bool:
    return any(
        event.HasField("activity_task_completed_event_attributes") for event in history.events
    )


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
