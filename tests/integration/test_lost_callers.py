"""Callers that stop waiting: the agent, and the model call in flight, stop with them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_CALLER_GONE, FAILURE_REASON_CANCELLED
from tests.integration.callers import ForeignCaller, Job, PythonCaller
from tests.integration.installation import Called, Installation, phase

HEARTBEAT = 4.0
BOTH = pytest.mark.parametrize("caller", [PythonCaller, ForeignCaller], ids=["python", "foreign"])


async def until_gone(installation: Installation, called: Called) -> AgentExecution:
    """The cancelled execution, once its caller's end was noticed: by its next heartbeat."""
    execution = await installation.ended(called.execution_id)
    assert phase(execution) == "CANCELLED"
    assert execution.status.failure.reason == FAILURE_REASON_CALLER_GONE
    described = await called.workflow.describe()
    assert described.close_time is not None
    noticed = execution.status.end_time.ToDatetime(described.close_time.tzinfo)
    assert timedelta() < noticed - described.close_time < timedelta(seconds=HEARTBEAT)
    return execution


@pytest.mark.contract("caller cancelled (ours)")
async def test_cancelled(installation: Installation) -> None:
    message = uuid.uuid4().hex
    called = await installation.call(PythonCaller, Job("held", message))
    call = await installation.gate.held(message)
    await called.workflow.cancel()
    await installation.gate.hung_up(call, within=timedelta(seconds=3))
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, CancelledError)
    execution = await installation.ended(called.execution_id)
    assert phase(execution) == "CANCELLED"
    assert execution.status.failure.reason == FAILURE_REASON_CANCELLED
    assert execution.status.failure.message == "the calling workflow was cancelled"
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract("caller cancelled (ours)")
async def test_cancelled_before_the_start(installation: Installation) -> None:
    """The cancellation may overtake the start: whatever comes first, nothing goes on."""
    message = uuid.uuid4().hex
    called = await installation.call(PythonCaller, Job("held", message))
    await called.workflow.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, CancelledError)
    if await installation.exists(called.execution_id):
        assert phase(await installation.ended(called.execution_id)) == "CANCELLED"
    for call in installation.gate.calls(message):
        await installation.gate.hung_up(call, within=timedelta(seconds=3))


@pytest.mark.contract("caller cancelled, waits for cancellation (foreign)")
async def test_cancelled_and_waiting(installation: Installation) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT, waits_for_cancellation=True)
    called = await installation.call(ForeignCaller, job)
    call = await installation.gate.held(message)
    await called.workflow.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, CancelledError)
    execution = await installation.ended(called.execution_id)
    assert phase(execution) == "CANCELLED"
    assert execution.status.failure.reason == FAILURE_REASON_CANCELLED
    await installation.gate.hung_up(call, within=timedelta(seconds=3))


@pytest.mark.contract("caller terminated, timed out")
@BOTH
async def test_terminated(installation: Installation, caller: Any) -> None:
    message = uuid.uuid4().hex
    called = await installation.call(caller, Job("held", message, heartbeat_timeout=HEARTBEAT))
    call = await installation.gate.held(message)
    await called.workflow.terminate("a test wants it")
    await until_gone(installation, called)
    await installation.gate.hung_up(call, within=timedelta(seconds=3))


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
    assert phase(await installation.ended(called.execution_id)) == "TIMED_OUT"


@pytest.mark.contract("caller terminated, timed out")
async def test_timed_out(installation: Installation) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT)
    called = await installation.call(ForeignCaller, job, run_timeout=timedelta(seconds=2))
    await installation.gate.held(message)
    await until_gone(installation, called)


@pytest.mark.contract("caller terminated, timed out")
async def test_activity_timed_out(installation: Installation) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT, timeout=2, attempts=1)
    called = await installation.call(ForeignCaller, job)
    await installation.gate.held(message)
    await until_gone(installation, called)
