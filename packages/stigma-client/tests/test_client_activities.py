"""The calling activity in Temporal's own activity environment, against a real gRPC server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_INPUT_REQUIRED,
    AGENT_EXECUTION_PHASE_PENDING,
    AGENT_EXECUTION_PHASE_RUNNING,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    AgentExecution,
    AgentExecutionPhase,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_STEP_LIMIT
from stigma.contracts import payloads, tokens
from stigma_client import activities as activities_module
from stigma_client.activities import AgentActivities
from stigma_client.connection import ApiConnection

if TYPE_CHECKING:
    from conftest import StandInApi

REQUEST = StartAgentRequest(agent_id="reviewer", message="hello", request_id="r-1")
TRANSIENT = (
    "ABORTED",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNKNOWN",
)
OPEN_PHASES = (
    AGENT_EXECUTION_PHASE_PENDING,
    AGENT_EXECUTION_PHASE_RUNNING,
    AGENT_EXECUTION_PHASE_INPUT_REQUIRED,
)
FINAL = sorted({code.name for code in grpc.StatusCode} - {*TRANSIENT, "OK"})


@pytest.fixture
async def calls(api: StandInApi) -> AsyncIterator[AgentActivities]:
    connection = ApiConnection(api.address)
    yield AgentActivities(connection)
    await connection.close()


def environment(**info: Any) -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = replace(ActivityEnvironment.default_info(), **info)
    return env


async def call(calls: AgentActivities, env: ActivityEnvironment | None = None) -> RawValue:
    env = env or environment()
    return await env.run(calls.call_agent, payloads.to_binary_payload(REQUEST))


def is_pending(error: BaseException) -> bool:
    return type(error).__name__ == "_CompleteAsyncError"


async def left_pending(calls: AgentActivities, env: ActivityEnvironment) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - the SDK's marker is private
        await call(calls, env)
    assert is_pending(raised.value)


async def failure(
    calls: AgentActivities, env: ActivityEnvironment | None = None
) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await call(calls, env)
    return raised.value


async def test_it_goes_pending_after_the_acknowledgement(
    api: StandInApi, calls: AgentActivities
) -> None:
    await left_pending(calls, environment())
    assert [start.agent_id for start in api.starts] == ["reviewer"]


@pytest.mark.parametrize("phase", [*OPEN_PHASES, 99])
async def test_it_waits_for_what_has_not_ended(
    api: StandInApi, calls: AgentActivities, phase: AgentExecutionPhase.ValueType
) -> None:
    """A phase of a later release included: whoever ends the agent then calls back."""
    running = AgentExecution(id="agent-1")
    running.status.phase = phase
    api.answers = [running]
    await left_pending(calls, environment())


async def test_the_request_says_who_waits_and_until_when(
    api: StandInApi, calls: AgentActivities
) -> None:
    scheduled = datetime(2026, 1, 2, tzinfo=UTC)
    await left_pending(
        calls,
        environment(
            activity_id="agent-7",
            workflow_id="order",
            workflow_run_id="run",
            workflow_namespace="shop",
            scheduled_time=scheduled,
            schedule_to_close_timeout=timedelta(hours=2),
            heartbeat_timeout=timedelta(seconds=20),
        ),
    )
    (start,) = api.starts
    assert start.request_id == "r-1"
    assert (start.caller.namespace, start.caller.workflow_id) == ("shop", "order")
    assert (start.caller.run_id, start.caller.activity_id) == ("run", "agent-7")
    assert start.caller.heartbeat_timeout.ToTimedelta() == timedelta(seconds=20)
    assert start.callback_deadline.ToDatetime(UTC) == scheduled + timedelta(hours=2)


async def test_an_activity_without_bounds_declares_none(
    api: StandInApi, calls: AgentActivities
) -> None:
    await left_pending(calls, environment(schedule_to_close_timeout=None))
    (start,) = api.starts
    assert not start.HasField("callback_deadline")
    assert not start.caller.HasField("heartbeat_timeout")


@pytest.mark.parametrize("token", [b"\x00", bytes(range(256)), b"t" * 100_000])
async def test_a_token_arrives_unchanged(
    api: StandInApi, calls: AgentActivities, token: bytes
) -> None:
    await left_pending(calls, environment(task_token=token))
    assert [start.callback_token for start in api.starts] == [token]


async def test_an_empty_token_is_refused_before_any_call(
    api: StandInApi, calls: AgentActivities
) -> None:
    error = await failure(calls, environment(task_token=b""))
    assert error.non_retryable
    assert error.type == "AGENT_EXECUTION_FAILED"
    assert api.starts == []


@pytest.mark.parametrize("code", FINAL)
async def test_a_final_answer_fails_the_call_at_once(
    api: StandInApi, calls: AgentActivities, code: str
) -> None:
    api.refuse(grpc.StatusCode[code], "because")
    error = await failure(calls)
    assert error.non_retryable
    assert error.type == "AGENT_EXECUTION_FAILED"
    assert error.details[0]["reason"] == code
    assert error.message == f"{code}: because (at start_agent)"
    is_expected = code not in {"UNIMPLEMENTED", "DATA_LOSS"}
    assert (error.category == ApplicationErrorCategory.BENIGN) == is_expected


@pytest.mark.parametrize("code", TRANSIENT)
async def test_a_transient_fault_is_left_to_temporals_retries(
    api: StandInApi, calls: AgentActivities, code: str
) -> None:
    api.refuse(grpc.StatusCode[code])
    error = await failure(calls)
    assert not error.non_retryable
    assert error.type == code


async def test_an_internal_error_is_not_tried_for_ever(
    api: StandInApi, calls: AgentActivities
) -> None:
    api.refuse(grpc.StatusCode.INTERNAL, "a bug")
    assert not (await failure(calls, environment(attempt=4))).non_retryable
    api.refuse(grpc.StatusCode.INTERNAL, "a bug")
    error = await failure(calls, environment(attempt=5))
    assert (error.non_retryable, error.type) == (True, "AGENT_EXECUTION_FAILED")
    assert error.details[0] == {"reason": "INTERNAL", "step": "start_agent"}


async def test_a_call_that_grpc_cannot_make_is_not_retried(
    api: StandInApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = ApiConnection(api.address)
    monkeypatch.setattr(connection, "metadata", lambda: (("authorization", "secret\n"),))
    error = await failure(AgentActivities(connection))
    assert (error.non_retryable, error.type) == (True, "AGENT_EXECUTION_FAILED")
    assert error.details[0] == {"reason": "INTERNAL", "step": "start_agent"}
    assert "secret" not in str(error)
    assert api.starts == []
    await connection.close()


async def test_a_refused_field_is_named(api: StandInApi, calls: AgentActivities) -> None:
    violation = BadRequest.FieldViolation(field="config.model", description="not allowed")
    bad = BadRequest(field_violations=[violation])
    api.refuse(grpc.StatusCode.INVALID_ARGUMENT, "bad request", [bad])
    error = await failure(calls)
    assert "config.model: not allowed" in error.message
    assert error.details[0]["field_violations"] == [
        {"field": "config.model", "description": "not allowed"}
    ]


async def test_a_full_server_says_when_to_come_back(
    api: StandInApi, calls: AgentActivities
) -> None:
    info = RetryInfo()
    info.retry_delay.FromSeconds(7)
    api.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", [info])
    error = await failure(calls)
    assert error.next_retry_delay == timedelta(seconds=7)


async def test_a_busy_session_is_an_answer_to_who_asked_to_be_refused(
    api: StandInApi, calls: AgentActivities
) -> None:
    info = ErrorInfo(reason="SESSION_BUSY", domain="stigma.dev")
    api.refuse(grpc.StatusCode.ABORTED, "another execution of the session runs", [info])
    error = await failure(calls)
    assert (error.type, error.non_retryable) == ("AGENT_EXECUTION_FAILED", True)
    assert error.details[0]["reason"] == "SESSION_BUSY"
    assert error.message.startswith("SESSION_BUSY: another execution")
    assert error.category is ApplicationErrorCategory.BENIGN


async def test_a_silent_server_is_not_waited_for(
    api: StandInApi, calls: AgentActivities, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: StartAgentRequest) -> None:
        await asyncio.Event().wait()

    api.starting = hang
    monkeypatch.setattr(activities_module, "RPC_TIMEOUT_SECONDS", 0.2)
    assert (await failure(calls)).type == "DEADLINE_EXCEEDED"


async def test_an_unreachable_server_is_a_transient_fault() -> None:
    connection = ApiConnection("127.0.0.1:1")
    error = await failure(AgentActivities(connection))
    await connection.close()
    assert error.type == "UNAVAILABLE"
    assert not error.non_retryable


async def test_an_agent_that_is_done_already_is_the_activitys_result(
    api: StandInApi, calls: AgentActivities
) -> None:
    done = AgentExecution(id="agent-1")
    done.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
    done.status.output.text = "fine"
    api.answers = [done]
    assert payloads.from_raw(await call(calls), AgentExecution) == done


@pytest.mark.parametrize(
    ("phase", "error_type"),
    [
        (AGENT_EXECUTION_PHASE_FAILED, "AGENT_EXECUTION_FAILED"),
        (AGENT_EXECUTION_PHASE_TIMED_OUT, "AGENT_EXECUTION_TIMEOUT"),
        (AGENT_EXECUTION_PHASE_CANCELLED, "AGENT_EXECUTION_CANCELLED"),
    ],
)
async def test_an_agent_that_ended_otherwise_fails_the_activity(
    api: StandInApi, calls: AgentActivities, phase: AgentExecutionPhase.ValueType, error_type: str
) -> None:
    ended = AgentExecution(id="agent-1")
    ended.status.phase = phase
    ended.status.failure.reason = FAILURE_REASON_STEP_LIMIT
    ended.status.failure.step = "model_call 2"
    api.answers = [ended]
    error = await failure(calls)
    assert error.non_retryable
    assert error.type == error_type
    assert error.details[0]["reason"] == "STEP_LIMIT"
    assert error.details[0]["execution"]["id"] == "agent-1"


@pytest.mark.parametrize(
    "payload",
    [
        Payload(metadata={"encoding": b"json/plain"}, data=b"{}"),
        Payload(metadata={"encoding": b"binary/protobuf"}, data=b"\xff"),
    ],
)
async def test_malformed_input_is_not_retried(calls: AgentActivities, payload: Payload) -> None:
    with pytest.raises(ApplicationError, match="malformed input") as raised:
        await environment().run(calls.call_agent, RawValue(payload))
    assert raised.value.non_retryable


async def test_a_worker_that_stops_leaves_the_call_to_another(
    api: StandInApi, calls: AgentActivities
) -> None:
    async def hang(_: StartAgentRequest) -> None:
        await asyncio.Event().wait()

    api.starting = hang
    env = environment()
    running = asyncio.create_task(call(calls, env))
    await api.started.wait()
    env.worker_shutdown()
    env.cancel(activity.ActivityCancellationDetails(worker_shutdown=True))
    with pytest.raises(ApplicationError) as raised:
        await running
    assert raised.value.type == "WORKER_SHUTDOWN"
    assert not raised.value.non_retryable


async def test_a_cancelled_call_is_cancelled(api: StandInApi, calls: AgentActivities) -> None:
    async def hang(_: StartAgentRequest) -> None:
        await asyncio.Event().wait()

    api.starting = hang
    env = environment()
    running = asyncio.create_task(call(calls, env))
    await api.started.wait()
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_each_step_is_logged_without_the_token(
    calls: AgentActivities, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = b"a token that must not be seen"
    await left_pending(calls, environment(task_token=token))
    ours = [record for record in caplog.records if record.name == "stigma_client"]
    assert [record.message for record in ours] == [
        "token_taken",
        "start_requested",
        "acknowledged",
        "pending",
    ]
    for record in ours:
        assert record.__dict__["request_id"] == "r-1"
        assert record.__dict__["callback_fingerprint"] == tokens.fingerprint(token)
        assert record.__dict__["token_length"] == len(token)
    assert ours[-1].__dict__["execution_id"].startswith("agent-")
    text = "".join(str(record.__dict__) for record in ours)
    assert "must not be seen" not in text


async def cancel(calls: AgentActivities) -> None:
    request = CancelAgentExecutionRequest(request_id="r-1", namespace="shop")
    await environment().run(calls.cancel_agent, payloads.to_binary_payload(request))


async def test_a_cancellation_names_the_request(api: StandInApi, calls: AgentActivities) -> None:
    await cancel(calls)
    assert [(each.request_id, each.namespace) for each in api.cancels] == [("r-1", "shop")]


async def test_a_cancellation_may_overtake_the_start(
    api: StandInApi, calls: AgentActivities
) -> None:
    api.refuse_cancel(grpc.StatusCode.NOT_FOUND)
    api.refuse_cancel(grpc.StatusCode.NOT_FOUND)
    await cancel(calls)
    assert len(api.cancels) == 3


async def test_a_cancellation_gives_up_on_what_was_never_started(
    api: StandInApi, calls: AgentActivities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities_module, "CANCEL_NOT_FOUND_RETRY_SECONDS", 0.0)
    api.refuse_cancel(grpc.StatusCode.NOT_FOUND)
    with pytest.raises(ApplicationError) as raised:
        await cancel(calls)
    assert raised.value.non_retryable
    assert raised.value.details[0] == {"reason": "NOT_FOUND", "step": "cancel_agent"}


async def test_a_cancellation_is_retried_by_temporal(
    api: StandInApi, calls: AgentActivities
) -> None:
    api.refuse_cancel(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(ApplicationError) as raised:
        await cancel(calls)
    assert not raised.value.non_retryable
