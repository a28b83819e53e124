"""Continuing as new: nothing of a run is lost, wherever it is cut."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from temporalio.client import WorkflowHandle

from services.zigflow_worker.tests.conftest import document
from stigma_client import StigmaPlugin
from zigflow_worker.activities.document_directory import DocumentDirectory
from zigflow_worker.activities.engine import DocumentActivities
from zigflow_worker.execution.dataflow import RunFacts
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.execution.run_state import dump_run, load_run
from zigflow_worker.execution.trace import Trace
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS
from zigflow_worker.worker import new_worker

NESTED = """
do:
  - begin:
      set: {total: 0, log: []}
      export: {as: "{id: $workflow.id, started: $workflow.startedAt.epoch.milliseconds}"}
  - rows:
      for: {each: row, in: "[1, 2, 3]", at: r}
      do:
        - attempt:
            try:
              - both:
                  fork:
                    branches:
                      - left:
                          for: {each: cell, in: "[10, 20]"}
                          do:
                            - pauseLeft: {wait: {milliseconds: 15}}
                            - add: {set: {total: "${ .total + $row * $cell }", log: "${ .log }"}}
                      - right:
                          do:
                            - pauseRight: {wait: {milliseconds: 10}}
                            - say: {set: "${ \\"row \\\\($row) at \\\\($r)\\" }"}
              - join:
                  set:
                    total: ${ .[0].total }
                    log: ${ .[0].log + [.[1]] }
              - failTwice:
                  if: ($context.failures // 0) < 2
                  do:
                    - count:
                        set: ${ . }
                        export: {as: "$context + {failures: (($context.failures // 0) + 1)}"}
                    - fail:
                        raise: {error: {type: urn:flaky, status: 500}}
            catch:
              as: problem
              retry:
                delay: {milliseconds: 10}
                limit: {attempt: {count: 1}}
              do:
                - pauseHandling: {wait: {milliseconds: 10}}
                - handled:
                    set: {total: "${ .total }", log: "${ .log + [$problem.type] }"}
  - finish:
      set:
        total: ${ .total }
        log: ${ .log }
        sameId: ${ $context.id == $workflow.id }
        sameStart: ${ $context.started == $workflow.startedAt.epoch.milliseconds }
        failures: ${ $context.failures }
        input: ${ $workflow.input }
"""

EXPECTED = {
    # Row 1 fails twice and is handled; its sums are lost with its attempts.
    "total": 150,
    "log": ["urn:flaky", "row 2 at 1", "row 3 at 2"],
    "sameId": True,
    "sameStart": True,
    "failures": 2,
    "input": {"kept": True},
}


async def runs_of(engine: Any) -> int:
    return len([history async for history in engine.histories()])


async def test_nested_loops_branches_and_retries_survive(engine: Any) -> None:
    assert await engine.run(NESTED, {"kept": True}) == EXPECTED
    assert await runs_of(engine) == 1
    assert await engine.run(NESTED, {"kept": True}, historyLength=20) == EXPECTED
    assert await runs_of(engine) > 3


async def test_every_yield_is_a_place_to_continue(engine: Any) -> None:
    output = await engine.run(
        """
        do:
          - loop:
              for: {in: "[range(400)]"}
              do:
                - count:
                    set: {n: "${ .n + 1 }", last: "${ $item }", at: "${ $index }"}
        """,
        historyLength=6,
        stepsPerActivation=100,
    )
    assert output == {"n": 400, "last": 399, "at": 399}
    assert await runs_of(engine) > 1


async def test_deadlines_are_absolute(engine: Any) -> None:
    problem = await engine.fault(
        """
        timeout: {after: {seconds: 2}}
        do:
          - tick:
              wait: {milliseconds: 30}
              then: tick
        """,
        historyLength=6,
    )
    assert problem["status"] == 408
    assert await runs_of(engine) > 1


async def test_a_wait_goes_on_where_it_was(engine: Any) -> None:
    handle = await engine.start(
        engine.document(
            """
            do:
              - both:
                  fork:
                    branches:
                      - long: {wait: {milliseconds: 500}}
                      - ticking:
                          for: {in: "[range(12)]"}
                          do:
                            - tick: {wait: {milliseconds: 10}}
            """
        ),
        options={"historyLength": 6},
    )
    await handle.result()
    trace = await handle.query("trace")
    (long,) = [entry for entry in trace if entry["name"] == "long"]
    took = datetime.fromisoformat(long["ended"]) - datetime.fromisoformat(long["started"])
    assert 0.49 < took.total_seconds() < 30
    assert [entry["name"] for entry in trace].count("tick") == 12


async def test_a_suspended_run_stays_suspended(engine: Any) -> None:
    handle = await engine.start(
        engine.document("do:\n  - tick: {wait: {milliseconds: 50}, then: tick}"),
        options={"historyLength": 6},
    )
    await until_phase(handle, "waiting")
    await handle.signal("suspend")
    await until_phase(handle, "suspended")
    await handle.cancel()


async def until_phase(handle: WorkflowHandle[Any, Any], phase: str) -> None:
    current = handle._client.get_workflow_handle(handle.id)
    async with asyncio.timeout(30):
        while (await current.query("status"))["phase"] != phase:
            pass


async def test_state_that_is_too_large_to_carry_fails_the_run(engine: Any) -> None:
    problem = await engine.fault(
        """
        do:
          - grow: {set: {a: "${ . }", b: "${ . }", c: ["${ . }"]}}
          - tick: {wait: {milliseconds: 10}}
          - again: {wait: {milliseconds: 10}}
        """,
        "x" * 600_000,
        historyLength=6,
    )
    assert problem["detail"].startswith("the state of the run is larger than")


async def test_a_worker_that_keeps_no_run_in_memory(
    engine: Any, documents: Path, calls: Any
) -> None:
    other = type(engine)(engine.client, f"{engine.task_queue}-uncached")
    activities = DocumentActivities(DocumentDirectory(documents))
    async with new_worker(
        engine.client,
        other.task_queue,
        activities,
        calls,
        build_id="test",
        max_cached_workflows=0,
        plugins=[StigmaPlugin()],
    ):
        assert await other.run(NESTED, {"kept": True}) == EXPECTED


FORK = """
do:
  - both:
      fork:
        branches:
          - ended: {set: {n: 1}}
          - waiting: {do: [{pause: {wait: PT10S}}, {last: {set: {n: 2}}}]}
"""


def frame_of_0_1_0(task: str, **fields: Any) -> dict[str, Any]:
    frame = {
        "task": task,
        "attempt": 1,
        "started": 1000.0,
        "deadline": None,
        "trace": None,
        "block": None,
        "index": 0,
        "data": 1,
        "raw": 1,
        "input": 1,
        "state": None,
    }
    return frame | fields


FORK_OF_0_1_0 = {
    "startedAt": 1000.0,
    "input": 0,
    "context": 1,
    "values": [{"k": 1}, {"k": 1}, None, {"n": 1}],
    "trace": [["/do/0/both", "both", "running", 1000.0, None, 1, None]],
    "stack": [
        frame_of_0_1_0("", block="/do"),
        frame_of_0_1_0(
            "/do/0/both",
            data=2,
            trace=0,
            state=[
                {"output": 3},
                {
                    "stack": [
                        frame_of_0_1_0(
                            "/do/0/both/fork/branches/1", block="/do/0/both/fork/branches/1"
                        ),
                        frame_of_0_1_0(
                            "/do/0/both/fork/branches/1/waiting",
                            block="/do/0/both/fork/branches/1/waiting/do",
                        ),
                        frame_of_0_1_0(
                            "/do/0/both/fork/branches/1/waiting/do/0/pause", data=2, state=1010.0
                        ),
                    ]
                },
            ],
        ),
    ],
}


async def test_a_fork_carried_by_0_1_0_goes_on(engine: Any) -> None:
    handle = await engine.client.start_workflow(
        "example",
        {"document": engine.document(FORK), "state": FORK_OF_0_1_0},
        id=f"engine-{uuid.uuid4()}",
        task_queue=engine.task_queue,
    )
    engine.handles.append(handle)
    assert await handle.result() == [{"n": 1}, {"n": 2}]


def test_a_fork_is_carried_as_0_1_0_carried_it() -> None:
    """After a rollback that release goes on from it; and its size decides in a replay."""
    program = compile_text(document(FORK), TASK_KINDS)
    run = Interpreter(RunFacts(program, "id", {"k": 1}, 1000.0), Mock(), Trace(), Mock())
    load_run(run, FORK_OF_0_1_0)
    assert dump_run(run)["stack"] == FORK_OF_0_1_0["stack"]
