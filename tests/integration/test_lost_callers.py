"""Callers that stop waiting: the execution, and the model call in flight, stop with them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from stigma.agent.v1.agent_pb2 import FAILURE_REASON_CALLER_GONE, FAILURE_REASON_CANCELLED
from stigma.contracts.executions import phase_name
from tests.integration.callers import ForeignCaller, Job, PythonCaller
from tests.integration.executions import AnyExecutions, Called
from tests.integration.installation import Installation

HEARTBEAT = 4.0
# Callers are looked at each quarter of their heartbeat timeout; without one, each minute.
NOTICED = timedelta(seconds=30)
BOTH = pytest.mark.parametrize("caller", [PythonCaller, ForeignCaller], ids=["python", "foreign"])


async def assert_cancelled(called: Called) -> None:
    """Assert that the caller was."""
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, CancelledError)


async def assert_gone(executions: AnyExecutions, called: Called) -> None:
    """Assert that the execution was cancelled, because its caller was looked at this often."""
    execution = await executions.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert execution.status.failure.reason == FAILURE_REASON_CALLER_GONE
    closed = (await called.workflow.describe()).close_time
    assert closed is not None
    noticed = execution.status.end_time.ToDatetime(closed.tzinfo)
    assert timedelta() < noticed - closed < NOTICED


@pytest.mark.contract("caller cancelled (ours)", "agent", "workflow")
async def test_cancelled(installation: Installation, executions: AnyExecutions) -> None:
    message = uuid.uuid4().hex
    called = await executions.call(PythonCaller, Job("held", message))
    call = await installation.gate.held(message)
    await called.workflow.cancel()
    await installation.gate.hung_up(call)
    await assert_cancelled(called)
    execution = await executions.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert execution.status.failure.reason == FAILURE_REASON_CANCELLED
    assert execution.status.failure.message == "the calling workflow was cancelled"
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract("caller cancelled (ours)", "agent", "workflow")
async def test_cancelled_before_the_start(
    installation: Installation, executions: AnyExecutions
) -> None:
    """The cancellation may overtake the start: whatever comes first, nothing goes on."""
    message = uuid.uuid4().hex
    called = await executions.call(PythonCaller, Job("held", message))
    await called.workflow.cancel()
    await assert_cancelled(called)
    if await executions.exists(called.execution_id):
        assert phase_name(await executions.ended(called.execution_id)) == "CANCELLED"
    for call in installation.gate.calls(message):
        await installation.gate.hung_up(call)


@pytest.mark.contract("caller cancelled, waits for cancellation (foreign)", "agent", "workflow")
async def test_cancelled_and_waiting(installation: Installation, executions: AnyExecutions) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT, waits_for_cancellation=True)
    called = await executions.call(ForeignCaller, job)
    call = await installation.gate.held(message)
    await called.workflow.cancel()
    await assert_cancelled(called)
    execution = await executions.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert execution.status.failure.reason == FAILURE_REASON_CANCELLED
    await installation.gate.hung_up(call)


@pytest.mark.contract("caller terminated, timed out", "agent", "workflow")
@BOTH
async def test_terminated(
    installation: Installation, executions: AnyExecutions, caller: Any
) -> None:
    message = uuid.uuid4().hex
    called = await executions.call(caller, Job("held", message, heartbeat_timeout=HEARTBEAT))
    call = await installation.gate.held(message)
    await called.workflow.terminate("a test wants it")
    await assert_gone(executions, called)
    await installation.gate.hung_up(call)


@pytest.mark.contract("caller terminated, timed out", "agent", "workflow")
async def test_timed_out(installation: Installation, executions: AnyExecutions) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT)
    called = await executions.call(ForeignCaller, job, run_timeout=timedelta(seconds=5))
    call = await installation.gate.held(message)
    await assert_gone(executions, called)
    await installation.gate.hung_up(call)


@pytest.mark.contract("caller terminated, timed out")
async def test_ours_hears_before_it_times_out(installation: Installation) -> None:
    """Temporal shortens the activity's timeout to the run's, and so it becomes the deadline."""
    called = await installation.call(
        PythonCaller, Job("held", uuid.uuid4().hex), run_timeout=timedelta(seconds=8)
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "AGENT_EXECUTION_TIMEOUT"
    assert phase_name(await installation.ended(called.execution_id)) == "TIMED_OUT"


@pytest.mark.contract("caller terminated, timed out")
async def test_activity_timed_out(installation: Installation) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT, timeout=5, attempts=1)
    called = await installation.call(ForeignCaller, job)
    await installation.gate.held(message)
    await assert_gone(installation, called)
