"""Executions and their runs stop together: cancelled, timed out, terminated or abandoned."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from services.stigma_orchestrator.tests.orchestration import (
    Call,
    Orchestrator,
    phase_of,
    reason_of,
    state_of,
    until,
)
from services.stigma_orchestrator.tests.workflow_runs import Workflows
from stigma.contracts import engine, payloads
from stigma.contracts.task_queues import TaskQueues
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma_orchestrator.workflows import engine_run

CANCEL_REQUESTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
CHILD_STARTED = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED


async def closed_as(handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionStatus | None:
    """Wait for a run's end and return how it closed."""
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return (await handle.describe()).status


async def test_the_deadline_reaches_the_caller_and_stops_the_run(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(attempt.bind(), document="hold", timeout=5)
    result = await caller.result()
    assert (result["error"], result["details"]["reason"]) == (
        "WORKFLOW_EXECUTION_TIMEOUT",
        "DEADLINE",
    )
    assert phase_of(await workflows.outcome(handle)) == "TIMED_OUT"
    assert await closed_as(workflows.run_of(handle)) == WorkflowExecutionStatus.CANCELED


async def test_an_output_after_the_deadline_is_kept_when_no_worker_ran(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    """No timeout was delivered: a later request with the same id gets the output."""
    caller, attempt = await orchestrator.call()
    # The caller is first looked at after ten seconds: an earlier timer is the deadline's.
    bind = attempt.bind(heartbeat_timeout=60)
    handle = await workflows.start(bind, document="hold", timeout=5)
    run = await workflows.running(handle)
    async with orchestrator.stopped():
        await caller.terminate()
        await until(handle, EventType.EVENT_TYPE_TIMER_FIRED)
        await run.signal("finish")
        await until(handle, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED)
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "RESOLVED_OR_GONE")
    assert execution.status.output.json == '{"answer":42}'
    assert execution.status.end_time.ToNanoseconds() > execution.status.deadline.ToNanoseconds()


async def test_a_run_that_nobody_serves_waits_until_the_deadline(
    orchestrator: Orchestrator, workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, attempt = await orchestrator.call()
    monkeypatch.setattr(engine_run, "STOP_GRACE", timedelta(seconds=1))
    monkeypatch.setattr(TaskQueues, "engine", property(lambda _: "nobody"))
    handle = await workflows.start(attempt.bind(), timeout=5)
    assert (await caller.result())["details"]["reason"] == "DEADLINE"
    await until(workflows.run_of(handle), CANCEL_REQUESTED)
    # It cannot stop, and is not waited for without end.
    assert phase_of(await workflows.outcome(handle)) == "TIMED_OUT"
    await workflows.run_of(handle).terminate()


async def test_a_cancel_reaches_the_caller_and_stops_the_run(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    accepted = WorkflowExecution(id="workflow-1")
    accepted.spec.session_id = "accepted"
    handle = await workflows.start(
        attempt.bind(), document="hold", memo={"execution": payloads.to_binary_payload(accepted)}
    )
    await workflows.running(handle)
    await handle.cancel(reason="enough")
    result = await caller.result()
    assert (result["error"], result["details"]["reason"]) == (
        "WORKFLOW_EXECUTION_CANCELLED",
        "CANCELLED",
    )
    assert await closed_as(handle) == WorkflowExecutionStatus.CANCELED
    assert await closed_as(workflows.run_of(handle)) == WorkflowExecutionStatus.CANCELED
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), state_of(execution)) == ("CANCELLED", "DELIVERED")
    assert execution.status.failure.message == "enough"
    assert execution.spec.session_id == "accepted"
    assert execution.status.run.workflow_id == engine.run_id(handle.id)


async def test_an_activity_bound_while_a_run_stops_is_answered_as_well(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, one, two = await orchestrator.pair(Call(), Call())
    handle = await workflows.start(one.bind(), document="stubborn")
    run = await workflows.running(handle)
    await handle.cancel()
    await until(caller, EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED)
    await handle.signal("bind", two.bind())
    result = await caller.result()
    assert [each["error"] for each in result] == ["WORKFLOW_EXECUTION_CANCELLED"] * 2
    await run.signal("finish")
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), state_of(execution)) == ("CANCELLED", "DELIVERED")
    assert execution.status.callback.bindings == 2


async def test_a_cancel_at_any_moment_leaves_no_run_behind(workflows: Workflows) -> None:
    """Before the run is started, meanwhile, and after."""

    async def cancelled(moments: int) -> None:
        handle = await workflows.start(document="hold")
        for _ in range(moments):  # each is a millisecond or two
            await handle.describe()
        await handle.cancel()
        assert await closed_as(handle) == WorkflowExecutionStatus.CANCELED
        with contextlib.suppress(RPCError):  # there is none
            closed = await closed_as(workflows.run_of(handle))
            assert closed == WorkflowExecutionStatus.CANCELED

    await asyncio.gather(*(cancelled(moments) for moments in range(30)))


async def test_a_run_that_does_not_stop_is_not_waited_for_without_end(
    orchestrator: Orchestrator, workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_run, "STOP_GRACE", timedelta(seconds=5))
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(attempt.bind(), document="stubborn")
    await workflows.running(handle)
    await handle.cancel()
    # The caller is answered at once.
    assert (await caller.result())["error"] == "WORKFLOW_EXECUTION_CANCELLED"
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
    assert phase_of(await workflows.outcome(handle)) == "CANCELLED"
    assert (await workflows.run_of(handle).describe()).status == WorkflowExecutionStatus.RUNNING
    await workflows.run_of(handle).signal("finish")


async def test_the_end_of_a_cancelled_run_does_not_matter(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(attempt.bind(), document="fail when cancelled")
    await workflows.running(handle)
    await handle.cancel()
    assert (await caller.result())["error"] == "WORKFLOW_EXECUTION_CANCELLED"
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), execution.status.error_json) == ("CANCELLED", "")
    assert await closed_as(workflows.run_of(handle)) == WorkflowExecutionStatus.FAILED


async def test_a_caller_that_is_gone_stops_the_run(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call(Call(heartbeat_timeout=4))
    handle = await workflows.start(attempt.bind(heartbeat_timeout=4), document="hold")
    await caller.terminate()
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), reason_of(execution)) == ("CANCELLED", "CALLER_GONE")
    assert state_of(execution) == "RESOLVED_OR_GONE"
    assert await closed_as(workflows.run_of(handle)) == WorkflowExecutionStatus.CANCELED


async def test_a_run_cancelled_by_somebody_else_is_a_cancelled_execution(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(attempt.bind(), document="hold")
    await until(handle, CHILD_STARTED)
    await workflows.run_of(handle).cancel()
    assert (await caller.result())["error"] == "WORKFLOW_EXECUTION_CANCELLED"
    execution = await workflows.outcome(handle)
    assert (phase_of(execution), reason_of(execution)) == ("CANCELLED", "CANCELLED")
    assert "in the engine" in execution.status.failure.message


async def test_a_terminated_run_fails_the_execution(
    orchestrator: Orchestrator, workflows: Workflows
) -> None:
    caller, attempt = await orchestrator.call()
    handle = await workflows.start(attempt.bind(), document="hold")
    await until(handle, CHILD_STARTED)
    await workflows.run_of(handle).terminate()
    result = await caller.result()
    assert (result["error"], result["details"]["reason"]) == (
        "WORKFLOW_EXECUTION_FAILED",
        "TERMINATED",
    )
    assert phase_of(await workflows.outcome(handle)) == "FAILED"


async def test_a_run_that_timed_out_in_temporal_fails_the_execution(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as late:
        # The run's own bound comes before the deadline.
        late.setattr(engine_run, "_AFTER_DEADLINE", timedelta(seconds=-25))
        handle = await workflows.start(document="hold", timeout=30)
        execution = await workflows.outcome(handle)
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "TERMINATED")
    assert "timed out" in execution.status.failure.message


async def test_a_terminated_execution_stops_its_run(workflows: Workflows) -> None:
    handle = await workflows.start(document="hold")
    await workflows.running(handle)
    await handle.terminate()
    assert await closed_as(workflows.run_of(handle)) == WorkflowExecutionStatus.CANCELED


async def test_the_run_does_not_outlive_the_deadline_for_long(workflows: Workflows) -> None:
    handle = await workflows.start(document="hold", timeout=30)
    run = workflows.run_of(handle)
    await until(handle, CHILD_STARTED)
    described = (await run.describe()).raw_description.execution_config
    bound = described.workflow_execution_timeout.ToTimedelta().total_seconds()
    assert 85 < bound <= 90
    await handle.cancel()
    await closed_as(handle)
