"""What a caller sees of an agent that ends: each outcome, by each kind of caller."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's name for it
)

from stigma.agent.v1.agent_execution_pb2 import (
    CALLBACK_STATE_DELIVERED,
    CALLBACK_STATE_UNSPECIFIED,
)
from stigma.agent.v1.agent_pb2 import AgentLimits, AgentSpec
from stigma.contracts import errors, limits
from tests.integration.callers import ForeignCaller, Job, PythonCaller
from tests.integration.installation import (
    Called,
    Installation,
    failure_of,
    phase,
    scheduled,
)

CALLERS = pytest.mark.parametrize(
    ("caller", "attempts"),
    [(PythonCaller, 0), (ForeignCaller, 0), (ForeignCaller, 1)],
    ids=["python", "foreign", "foreign-once"],
)


def said(failure: ApplicationError) -> dict[str, Any]:
    """The failure's one detail."""
    [details] = failure.details
    assert isinstance(details, dict)
    return details


@pytest.mark.contract("agent succeeds")
@CALLERS
async def test_success(installation: Installation, caller: Any, attempts: int) -> None:
    called = await installation.call(
        caller, Job("echo", "hello", attempts=attempts, heartbeat_timeout=30)
    )
    assert await called.result() == "hello"
    execution = await installation.told(called.execution_id)
    assert phase(execution) == "COMPLETED"
    assert execution.status.output.text == "hello"
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    assert execution.status.callback.bindings == 1
    # Within one local activity: nothing was scheduled to deliver it.
    assert scheduled(await installation.history(called.execution_id), "deliver_callback") == 0


@pytest.mark.contract("agent fails, any exception")
@CALLERS
async def test_failure(installation: Installation, caller: Any, attempts: int) -> None:
    called = await installation.call(
        caller, Job("broken", "hello", attempts=attempts, heartbeat_timeout=30)
    )
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_FAILED"
    assert failure.non_retryable
    assert said(failure)["reason"] == "INVALID_REQUEST"
    assert said(failure)["step"] == "model_call 2"
    told = errors.execution_from_details(said(failure))
    assert told is not None
    execution = await installation.told(called.execution_id)
    assert told.id == execution.id
    assert phase(told) == phase(execution) == "FAILED"
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    # Within one activity, whose schedule is the decision in history.
    assert scheduled(await installation.history(called.execution_id), "deliver_callback") == 1


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
    assert said(failure)["reason"] == reason
    assert said(failure)["step"].startswith("model_call ")


@pytest.mark.contract("agent exceeds its deadline")
@CALLERS
async def test_deadline(installation: Installation, caller: Any, attempts: int) -> None:
    job = Job("slow", "hello", attempts=attempts, agent_timeout=1, heartbeat_timeout=30)
    called = await installation.call(caller, job)
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_TIMEOUT"
    assert said(failure)["reason"] == "DEADLINE"
    execution = await installation.ended(called.execution_id)
    assert phase(execution) == "TIMED_OUT"
    status = execution.status
    late = status.end_time.ToDatetime() - status.deadline.ToDatetime()
    assert timedelta() <= late < timedelta(seconds=3)


@pytest.mark.contract("agent exceeds its deadline")
async def test_deadline_of_the_caller_itself(installation: Installation) -> None:
    """What the caller allows is what the agent gets, and it hears of it from us, not Temporal."""
    called = await installation.call(PythonCaller, Job("slow", "hello", timeout=2))
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_TIMEOUT"
    assert said(failure)["execution"]["id"] == called.execution_id
    status = (await installation.ended(called.execution_id)).status
    assert status.deadline.ToDatetime() - status.start_time.ToDatetime() <= timedelta(seconds=2)


@pytest.mark.contract("agent cancelled through the API")
@CALLERS
async def test_cancelled_through_the_api(
    installation: Installation, caller: Any, attempts: int
) -> None:
    message = uuid.uuid4().hex
    called = await installation.call(
        caller, Job("held", message, attempts=attempts, heartbeat_timeout=30)
    )
    call = await installation.gate.held(message)
    await installation.cancel(called.execution_id)
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_CANCELLED"
    assert said(failure)["reason"] == "CANCELLED"
    execution = await installation.ended(called.execution_id)
    assert phase(execution) == "CANCELLED"
    assert execution.status.failure.message == "a test wants it"
    await installation.gate.hung_up(call, within=timedelta(seconds=3))


@pytest.mark.contract("no token")
async def test_nobody_waits(installation: Installation) -> None:
    started = await installation.start(
        agent_id="echo", message="hello", request_id=uuid.uuid4().hex
    )
    assert started.id == installation.execution_id(started.spec.request_id)
    execution = await installation.told(started.id)
    assert phase(execution) == "COMPLETED"
    assert execution.status.output.text == "hello"
    assert execution.status.callback.state == CALLBACK_STATE_UNSPECIFIED
    events = await installation.history(started.id)
    assert scheduled(events, "deliver_callback") == scheduled(events, "watch_caller") == 0


@pytest.mark.contract("no token")
async def test_nobody_waits_for_a_failure(installation: Installation) -> None:
    started = await installation.start(agent_id="broken", message="hello")
    execution = await installation.ended(started.id)
    assert phase(execution) == "FAILED"
    assert scheduled(await installation.history(started.id), "deliver_callback") == 0


@pytest.mark.contract("result or input too large")
@CALLERS
async def test_result_too_large(installation: Installation, caller: Any, attempts: int) -> None:
    job = Job("large", "m" * 1000, repeat=400, attempts=attempts, heartbeat_timeout=30)
    called = await installation.call(caller, job)
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_FAILED"
    assert said(failure)["reason"] == "TOO_LARGE"
    assert str(limits.MAX_OUTPUT_BYTES) in failure.message
    assert "1200" in failure.message
    assert phase(await installation.ended(called.execution_id)) == "FAILED"


@pytest.mark.contract("result or input too large")
async def test_input_too_large(installation: Installation) -> None:
    called = await installation.call(PythonCaller, Job("echo", "m" * 1000, repeat=1500))
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_FAILED"
    assert said(failure)["reason"] == "TOO_LARGE"
    assert "1500000" in failure.message
    assert str(limits.MAX_MESSAGE_BYTES) in failure.message
    assert not await installation.exists(called.execution_id)


@pytest.mark.contract("result or input too large")
async def test_foreign_input_too_large(installation: Installation) -> None:
    job = Job("echo", "m" * 1000, repeat=1500, attempts=1)
    called = await installation.call(ForeignCaller, job)
    failure = await failure_of(called)
    assert "INVALID_ARGUMENT" in failure.message
    assert "1500000" in failure.message
    assert str(limits.MAX_MESSAGE_BYTES) in failure.message
    assert not await installation.exists(called.execution_id)


@pytest.mark.contract("foreign caller without heartbeat, with max_attempts = 1")
async def test_foreign_caller_without_heartbeat(installation: Installation) -> None:
    called = await installation.call(ForeignCaller, Job("echo", "hello", attempts=1))
    assert await called.result() == "hello"
    broken = await installation.call(ForeignCaller, Job("broken", "hello", attempts=1))
    assert (await failure_of(broken)).type == "AGENT_EXECUTION_FAILED"


@pytest.mark.contract("foreign caller without heartbeat, with max_attempts = 1")
async def test_foreign_caller_is_bound_by_schedule_to_close(installation: Installation) -> None:
    message = uuid.uuid4().hex
    called = await installation.call(ForeignCaller, Job("held", message, attempts=1, timeout=2))
    await installation.gate.held(message)
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, ActivityError)
    assert isinstance(caught.value.cause.cause, TimeoutError)
    # Late words find nobody, and harm nobody; unless a look at the caller stops the agent first.
    call = await installation.gate.held(message)
    if call.waits:
        call.answer("too late")
    assert phase(await installation.ended(called.execution_id)) in {"COMPLETED", "CANCELLED"}
