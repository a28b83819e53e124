"""What a caller sees of an execution that ends: each outcome, by each kind of caller."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import (
    ActivityError,
    TimeoutError,  # noqa: A004 - Temporal's name for it
)

from stigma.agent.v1.agent_execution_pb2 import (
    CALLBACK_STATE_DELIVERED,
    CALLBACK_STATE_UNSPECIFIED,
)
from stigma.agent.v1.agent_pb2 import AgentLimits, AgentSpec
from stigma.contracts import limits
from stigma.contracts.executions import Kind, phase_name
from tests.integration.callers import ForeignCaller, Job, PythonCaller, answer_of
from tests.integration.executions import (
    AnyExecutions,
    Called,
    WorkflowExecutions,
    details_of,
    failure_of,
)
from tests.integration.installation import Installation, scheduled

CALLERS = pytest.mark.parametrize(
    ("caller", "attempts"),
    [(PythonCaller, 0), (ForeignCaller, 0), (ForeignCaller, 1)],
    ids=["python", "foreign", "foreign-once"],
)
# Reason, step and message of the agent's and the workflow's failure that are called "broken".
FAILURES = {
    Kind.AGENT: ("INVALID_REQUEST", "model_call 2", "no such parameter"),
    Kind.WORKFLOW: ("WORKFLOW_ERROR", "/do/0/break", "Broken: it is"),
}
# The size of an input that is too large, and the limit: a workflow's is JSON, {"said":"…"}.
INPUTS = {
    Kind.AGENT: ("1500000", limits.MAX_MESSAGE_BYTES),
    Kind.WORKFLOW: ("1500011", limits.MAX_INPUT_BYTES),
}


@pytest.mark.contract("agent succeeds", "agent", "workflow")
@CALLERS
async def test_success(executions: AnyExecutions, caller: Any, attempts: int) -> None:
    called = await executions.call(
        caller, Job("echo", "hello", attempts=attempts, heartbeat_timeout=30)
    )
    assert await called.result() == "hello"
    execution = await executions.told(called.execution_id)
    assert phase_name(execution) == "COMPLETED"
    assert answer_of(execution) == "hello"
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    assert execution.status.callback.bindings == 1
    # Within one local activity: nothing was scheduled to deliver it.
    assert scheduled(await executions.history(called.execution_id), executions.delivery) == 0


@pytest.mark.contract("agent fails, any exception", "agent", "workflow")
@CALLERS
async def test_failure(executions: AnyExecutions, caller: Any, attempts: int) -> None:
    called = await executions.call(
        caller, Job("broken", "hello", attempts=attempts, heartbeat_timeout=30)
    )
    failure = await failure_of(called)
    assert failure.type == executions.error("FAILED")
    assert failure.non_retryable
    details = details_of(failure)
    reason, step, message = FAILURES[executions.kind]
    assert (details["reason"], details["step"]) == (reason, step)
    assert message in failure.message
    told = executions.from_details(details)
    assert told is not None
    execution = await executions.told(called.execution_id)
    assert told.id == execution.id
    assert phase_name(told) == phase_name(execution) == "FAILED"
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    # Within one activity, whose schedule is the decision in history.
    assert scheduled(await executions.history(called.execution_id), executions.delivery) == 1


@pytest.mark.contract("agent fails, any exception")
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (AgentSpec(model="nobody:knows-it"), "UNKNOWN_MODEL"),
        (AgentSpec(model="scripted:x", output_schema='{"type": "object"}'), "INVALID_OUTPUT"),
        (AgentSpec(model="scripted:x", limits=AgentLimits(tokens=1)), "TOKEN_LIMIT"),
    ],
    ids=["unknown-model", "invalid-output", "token-limit"],
)
async def test_failure_of_every_kind(
    installation: Installation, spec: AgentSpec, reason: str
) -> None:
    spec.limits.steps = 2
    if reason == "TOKEN_LIMIT":
        spec.script.steps.add(text="…", pause=True)
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    execution = await installation.start(spec=spec, message="hello", callback_token=token)
    failure = await failure_of(Called(parked, Job("", ""), execution.id))
    assert failure.type == "AGENT_EXECUTION_FAILED"
    assert details_of(failure)["reason"] == reason
    assert details_of(failure)["step"].startswith("model_call ")


@pytest.mark.contract("agent exceeds its deadline", "agent", "workflow")
@CALLERS
async def test_deadline(executions: AnyExecutions, caller: Any, attempts: int) -> None:
    job = Job("slow", "hello", attempts=attempts, agent_timeout=1, heartbeat_timeout=30)
    called = await executions.call(caller, job)
    failure = await failure_of(called)
    assert failure.type == executions.error("TIMEOUT")
    assert details_of(failure)["reason"] == "DEADLINE"
    execution = await executions.ended(called.execution_id)
    assert phase_name(execution) == "TIMED_OUT"
    status = execution.status
    late = status.end_time.ToDatetime() - status.deadline.ToDatetime()
    # Long before what it did would have ended.
    assert timedelta() <= late < timedelta(seconds=30)
    if isinstance(executions, WorkflowExecutions):
        await executions.assert_run_cancelled(called.execution_id)


@pytest.mark.contract("agent exceeds its deadline")
async def test_deadline_of_the_caller_itself(installation: Installation) -> None:
    """What the caller allows is what the agent gets, and it hears of it from us, not Temporal."""
    called = await installation.call(PythonCaller, Job("slow", "hello", timeout=4))
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_TIMEOUT"
    assert details_of(failure)["execution"]["id"] == called.execution_id
    status = (await installation.ended(called.execution_id)).status
    assert status.deadline.ToDatetime() - status.start_time.ToDatetime() <= timedelta(seconds=4)


@pytest.mark.contract("agent cancelled through the API", "agent", "workflow")
@CALLERS
async def test_cancelled_through_the_api(
    installation: Installation, executions: AnyExecutions, caller: Any, attempts: int
) -> None:
    message = uuid.uuid4().hex
    called = await executions.call(
        caller, Job("held", message, attempts=attempts, heartbeat_timeout=30)
    )
    call = await installation.gate.held(message)
    await executions.cancel(called.execution_id)
    failure = await failure_of(called)
    assert failure.type == executions.error("CANCELLED")
    assert details_of(failure)["reason"] == "CANCELLED"
    await installation.gate.hung_up(call)
    execution = await executions.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert execution.status.failure.message == "a test wants it"
    if isinstance(executions, WorkflowExecutions):
        await executions.assert_run_cancelled(called.execution_id)


@pytest.mark.contract("no token", "agent", "workflow")
async def test_nobody_waits(executions: AnyExecutions) -> None:
    started = await executions.ask("echo", "hello", request_id=uuid.uuid4().hex)
    assert started.id == executions.execution_id(started.spec.request_id)
    execution = await executions.told(started.id)
    assert phase_name(execution) == "COMPLETED"
    assert answer_of(execution) == "hello"
    assert execution.status.callback.state == CALLBACK_STATE_UNSPECIFIED
    events = await executions.history(started.id)
    assert scheduled(events, executions.delivery) == scheduled(events, "watch_caller") == 0


@pytest.mark.contract("no token", "agent", "workflow")
async def test_nobody_waits_for_a_failure(executions: AnyExecutions) -> None:
    started = await executions.ask("broken", "hello")
    execution = await executions.ended(started.id)
    assert phase_name(execution) == "FAILED"
    assert scheduled(await executions.history(started.id), executions.delivery) == 0


@pytest.mark.contract("result or input too large", "agent", "workflow")
@CALLERS
async def test_result_too_large(executions: AnyExecutions, caller: Any, attempts: int) -> None:
    job = Job("large", "m" * 1000, repeat=360, attempts=attempts, heartbeat_timeout=30)
    called = await executions.call(caller, job)
    failure = await failure_of(called)
    assert failure.type == executions.error("FAILED")
    assert details_of(failure)["reason"] == "TOO_LARGE"
    assert str(limits.MAX_OUTPUT_BYTES) in failure.message
    assert "1080" in failure.message
    assert phase_name(await executions.ended(called.execution_id)) == "FAILED"


@pytest.mark.contract("result or input too large", "agent", "workflow")
async def test_input_too_large(executions: AnyExecutions) -> None:
    called = await executions.call(PythonCaller, Job("echo", "m" * 1000, repeat=1500))
    failure = await failure_of(called)
    assert failure.type == executions.error("FAILED")
    assert details_of(failure)["reason"] == "TOO_LARGE"
    size, limit = INPUTS[executions.kind]
    assert size in failure.message
    assert str(limit) in failure.message
    assert not await executions.exists(called.execution_id)


@pytest.mark.contract("result or input too large")
async def test_foreign_input_too_large(installation: Installation) -> None:
    job = Job("echo", "m" * 1000, repeat=1500, attempts=1)
    called = await installation.call(ForeignCaller, job)
    failure = await failure_of(called)
    assert "INVALID_ARGUMENT" in failure.message
    assert "1500000" in failure.message
    assert str(limits.MAX_MESSAGE_BYTES) in failure.message
    assert not await installation.exists(called.execution_id)


@pytest.mark.contract(
    "foreign caller without heartbeat, with max_attempts = 1", "agent", "workflow"
)
async def test_foreign_caller_without_heartbeat(executions: AnyExecutions) -> None:
    called = await executions.call(ForeignCaller, Job("echo", "hello", attempts=1))
    assert await called.result() == "hello"
    broken = await executions.call(ForeignCaller, Job("broken", "hello", attempts=1))
    assert (await failure_of(broken)).type == executions.error("FAILED")


@pytest.mark.contract("foreign caller without heartbeat, with max_attempts = 1")
async def test_foreign_caller_is_bound_by_schedule_to_close(installation: Installation) -> None:
    message = uuid.uuid4().hex
    called = await installation.call(ForeignCaller, Job("held", message, attempts=1, timeout=5))
    await installation.gate.held(message)
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, ActivityError)
    assert isinstance(caught.value.cause.cause, TimeoutError)
    # Late words find nobody, and harm nobody; unless a look at the caller stops the agent first.
    call = await installation.gate.held(message)
    if call.waits:
        call.answer("too late")
    assert phase_name(await installation.ended(called.execution_id)) in {"COMPLETED", "CANCELLED"}
