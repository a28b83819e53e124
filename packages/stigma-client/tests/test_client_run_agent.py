"""`run_agent` on a real Temporal server; a stand-in for the API resolves the token."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from client_test_caller import Caller, Job
from temporalio.client import (
    AsyncActivityHandle,
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    SESSION_POLICY_ENQUEUE,
    AgentExecution,
    AgentExecutionPhase,
)
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_STEP_LIMIT,
)
from stigma.contracts import limits, payloads
from stigma.contracts.errors import ErrorType, failure_details, failure_message
from stigma_client import (
    AgentExecutionCancelled,
    AgentExecutionError,
    AgentExecutionFailed,
    AgentExecutionTimedOut,
    StigmaPlugin,
)

if TYPE_CHECKING:
    from conftest import StandInApi

pytestmark = pytest.mark.parametrize("sandboxed", [False, True], ids=["unsandboxed", "sandboxed"])


@pytest.fixture
def runner(sandboxed: bool) -> SandboxedWorkflowRunner | UnsandboxedWorkflowRunner:
    return SandboxedWorkflowRunner() if sandboxed else UnsandboxedWorkflowRunner()


Start = Callable[[Job], Awaitable[WorkflowHandle[Caller, dict[str, Any]]]]


@pytest.fixture
async def start(client: Client, api: StandInApi, runner: Any) -> AsyncIterator[Start]:
    """Start a caller; every history is replayed at the end."""
    queue = f"caller-{uuid.uuid4()}"
    handles: list[WorkflowHandle[Caller, dict[str, Any]]] = []

    async def start(job: Job) -> WorkflowHandle[Caller, dict[str, Any]]:
        handle = await client.start_workflow(
            Caller.run, job, id=str(uuid.uuid4()), task_queue=queue
        )
        handles.append(handle)
        return handle

    async with serving(client, queue, api, runner):
        yield start
        for handle in handles:
            await replay(await handle.fetch_history(), api, runner)


@asynccontextmanager
async def serving(
    client: Client, queue: str, api: StandInApi, runner: Any, **options: Any
) -> AsyncIterator[None]:
    plugin = StigmaPlugin(api.address)
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Caller],
        workflow_runner=runner,
        plugins=[plugin],
        graceful_shutdown_timeout=timedelta(seconds=2),
        **options,
    ):
        yield


async def replay(history: WorkflowHistory, api: StandInApi, runner: Any) -> None:
    replayer = Replayer(
        workflows=[Caller], workflow_runner=runner, plugins=[StigmaPlugin(api.address)]
    )
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    assert result.replay_failure is None


def pending(client: Client, request: StartAgentRequest) -> AsyncActivityHandle:
    return client.get_async_activity_handle(task_token=request.callback_token)


async def complete(client: Client, request: StartAgentRequest, text: str = "fine") -> None:
    execution = AgentExecution(id="agent-1")
    execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
    execution.status.output.text = text
    await pending(client, request).complete(payloads.to_binary_payload(execution))


async def fail(
    client: Client, request: StartAgentRequest, phase: AgentExecutionPhase.ValueType
) -> None:
    execution = AgentExecution(id="agent-1")
    execution.status.phase = phase
    execution.status.failure.reason = FAILURE_REASON_STEP_LIMIT
    execution.status.failure.step = "model_call 2"
    await pending(client, request).fail(
        ApplicationError(
            failure_message(execution),
            failure_details(execution),
            type=ErrorType.of(execution),
            non_retryable=True,
        )
    )


async def test_the_agents_answer_comes_back(start: Start, api: StandInApi, client: Client) -> None:
    before = datetime.now(UTC)
    caller = await start(Job())
    await api.started.wait()
    (request,) = api.starts
    await complete(client, request, text="looks good")
    assert await caller.result() == {"id": "agent-1", "text": "looks good", "output": "looks good"}
    assert request.caller.workflow_id == caller.id
    assert request.caller.run_id == caller.result_run_id
    assert request.caller.activity_id == f"agent-{request.request_id}"
    assert request.caller.heartbeat_timeout.ToTimedelta() == timedelta(seconds=30)
    left = request.callback_deadline.ToDatetime(UTC) - before
    assert timedelta(seconds=85) < left < timedelta(seconds=100)
    assert '"message":"hello"' in request.input_json
    assert (dict(request.env), request.session_id) == ({"REPO": "here"}, "session")
    assert request.session_policy == SESSION_POLICY_ENQUEUE
    assert request.partial_text


async def test_it_costs_the_caller_one_activity(
    start: Start, api: StandInApi, client: Client
) -> None:
    caller = await start(Job())
    await api.started.wait()
    await complete(client, api.starts[0])
    await caller.result()
    kinds = [event.WhichOneof("attributes") for event in (await caller.fetch_history()).events]
    assert sum("timer" in str(kind) or "marker" in str(kind) for kind in kinds) == 0
    assert kinds.count("activity_task_scheduled_event_attributes") == 1
    assert kinds.count("workflow_task_completed_event_attributes") == 2


async def test_structured_output_is_parsed(start: Start, api: StandInApi, client: Client) -> None:
    caller = await start(Job(inline=True, agent=""))
    await api.started.wait()
    execution = AgentExecution(id="agent-1")
    execution.status.output.json = '{"ok":true}'
    await pending(client, api.starts[0]).complete(payloads.to_binary_payload(execution))
    assert (await caller.result())["output"] == {"ok": True}
    assert api.starts[0].spec.model == "scripted:demo"


async def test_a_later_releases_fields_are_ignored(
    start: Start, api: StandInApi, client: Client
) -> None:
    caller = await start(Job())
    await api.started.wait()
    payload = payloads.binary_payload(AgentExecution(id="agent-1"))
    payload.data += b"\xfa\x3f\x03new"
    await pending(client, api.starts[0]).complete(RawValue(payload))
    assert (await caller.result())["id"] == "agent-1"


async def test_a_completion_by_a_stranger_is_a_failure(
    start: Start, api: StandInApi, client: Client
) -> None:
    caller = await start(Job(swallow=True))
    await api.started.wait()
    await pending(client, api.starts[0]).complete({"not": "an execution"})
    outcome = await caller.result()
    assert (outcome["class"], outcome["reason"]) == ("AgentExecutionFailed", "INTERNAL")


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (AGENT_EXECUTION_PHASE_FAILED, AgentExecutionFailed),
        (AGENT_EXECUTION_PHASE_TIMED_OUT, AgentExecutionTimedOut),
        (AGENT_EXECUTION_PHASE_CANCELLED, AgentExecutionCancelled),
    ],
)
async def test_each_outcome_has_its_error(
    start: Start,
    api: StandInApi,
    client: Client,
    phase: AgentExecutionPhase.ValueType,
    kind: type[AgentExecutionError],
) -> None:
    caller = await start(Job(swallow=True))
    await api.started.wait()
    await fail(client, api.starts[0], phase)
    assert await caller.result() == {
        "class": kind.__name__,
        "reason": "STEP_LIMIT",
        "step": "model_call 2",
        "id": "agent-1",
    }


async def failure_of(caller: WorkflowHandle[Caller, dict[str, Any]]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as raised:
        await caller.result()
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause


async def test_an_uncaught_error_fails_the_workflow_with_its_type(
    start: Start, api: StandInApi, client: Client
) -> None:
    caller = await start(Job())
    await api.started.wait()
    await fail(client, api.starts[0], AGENT_EXECUTION_PHASE_FAILED)
    error = await failure_of(caller)
    assert error.type == "AGENT_EXECUTION_FAILED"
    assert error.details[0]["execution"]["id"] == "agent-1"


async def test_a_foreign_failure_is_a_failure(
    start: Start, api: StandInApi, client: Client
) -> None:
    caller = await start(Job(swallow=True))
    await api.started.wait()
    error = ApplicationError("by hand", type="AGENT_EXECUTION_FAILED", non_retryable=True)
    await pending(client, api.starts[0]).fail(error)
    outcome = await caller.result()
    assert (outcome["class"], outcome["reason"]) == ("AgentExecutionFailed", "INTERNAL")


async def test_an_unknown_failure_is_a_failure(
    start: Start, api: StandInApi, client: Client
) -> None:
    caller = await start(Job(swallow=True))
    await api.started.wait()
    await pending(client, api.starts[0]).fail(ApplicationError("odd", non_retryable=True))
    assert (await caller.result())["class"] == "AgentExecutionFailed"


async def test_a_refusal_reaches_the_caller(start: Start, api: StandInApi) -> None:
    api.refuse(grpc.StatusCode.PERMISSION_DENIED, "not yours")
    error = await failure_of(await start(Job()))
    assert error.type == "AGENT_EXECUTION_FAILED"
    assert error.details[0]["reason"] == "PERMISSION_DENIED"
    assert "not yours" in error.message


async def test_transient_faults_are_retried_under_the_same_request(
    start: Start, api: StandInApi, client: Client
) -> None:
    api.refuse(grpc.StatusCode.UNAVAILABLE)
    acknowledged = asyncio.Event()

    async def second(request: StartAgentRequest) -> None:
        if len(api.starts) == 2:
            acknowledged.set()

    api.starting = second
    caller = await start(Job())
    await acknowledged.wait()
    await complete(client, api.starts[1])
    await caller.result()
    first, again = api.starts
    assert first.request_id == again.request_id
    assert first.callback_token != again.callback_token


async def test_a_silent_agent_times_out(
    start: Start, api: StandInApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALLBACK_MARGIN", timedelta(seconds=0.5))
    caller = await start(Job(timeout=0.5, swallow=True))
    outcome = await caller.result()
    assert (outcome["class"], outcome["reason"]) == ("AgentExecutionTimedOut", "DEADLINE")


async def test_an_api_that_stays_away_is_a_timeout(
    start: Start, api: StandInApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The next try would come after the deadline: Temporal ends with the last try's own error.
    monkeypatch.setattr(limits, "CALLBACK_MARGIN", timedelta(seconds=0.5))
    for _ in range(5):
        api.refuse(grpc.StatusCode.UNAVAILABLE, "away")
    error = await failure_of(await start(Job(timeout=2.0)))
    assert error.type == "AGENT_EXECUTION_TIMEOUT"
    assert "away" in error.message


@pytest.mark.parametrize(
    ("job", "named"),
    [
        (Job(message="", message_bytes=limits.MAX_MESSAGE_BYTES + 1), "message is 1048577 bytes"),
        (Job(input_bytes=limits.MAX_INPUT_BYTES), "input is 104"),
        (Job(labels_bytes=limits.MAX_PAYLOAD_BYTES), "request is 157"),
        (Job(request_id="r" * 257), "request_id is 257 bytes"),
    ],
)
async def test_too_large_a_request_names_size_and_limit(
    start: Start, api: StandInApi, job: Job, named: str
) -> None:
    error = await failure_of(await start(job))
    assert error.type == "AGENT_EXECUTION_FAILED"
    assert error.details[0]["reason"] == "TOO_LARGE"
    assert named in error.message
    assert "the limit is" in error.message
    assert api.starts == []


@pytest.mark.parametrize(
    "job",
    [
        Job(agent=""),
        Job(inline=True),
        Job(odd_input=True),
        Job(timeout=0.0),
        Job(heartbeat_timeout=-1.0),
    ],
)
async def test_a_malformed_call_fails_the_workflow(start: Start, api: StandInApi, job: Job) -> None:
    error = await failure_of(await start(job))
    assert error.details[0]["reason"] == "INVALID_ARGUMENT"
    assert api.starts == []


async def cancelled(caller: WorkflowHandle[Caller, dict[str, Any]]) -> None:
    with pytest.raises(WorkflowFailureError) as raised:
        await caller.result()
    assert isinstance(raised.value.cause, CancelledError)


async def test_a_cancelled_caller_cancels_its_agent(start: Start, api: StandInApi) -> None:
    caller = await start(Job(request_id="mine"))
    await api.started.wait()
    await caller.cancel()
    await cancelled(caller)
    assert [(each.request_id, each.namespace) for each in api.cancels] == [("mine", "default")]


async def test_a_second_cancellation_does_not_cut_the_first_short(
    start: Start, api: StandInApi
) -> None:
    api.refuse_cancel(grpc.StatusCode.UNAVAILABLE)
    caller = await start(Job())
    await api.started.wait()
    await caller.cancel()
    await caller.cancel()
    await cancelled(caller)
    assert api.cancelled.is_set()


async def test_a_cancellation_nobody_takes_still_cancels_the_caller(
    start: Start, api: StandInApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stigma_client")
    api.refuse_cancel(grpc.StatusCode.PERMISSION_DENIED)
    caller = await start(Job())
    await api.started.wait()
    await caller.cancel()
    await cancelled(caller)
    assert len(api.cancels) == 1
    [failed] = [record for record in caplog.records if record.message == "cancel_failed"]
    assert failed.levelno == logging.WARNING
    assert failed.__dict__["reason"] == "PERMISSION_DENIED"


async def test_a_timeout_in_the_workflow_cancels_the_agent(start: Start, api: StandInApi) -> None:
    caller = await start(Job(within=0.5))
    await api.cancelled.wait()
    with pytest.raises(WorkflowFailureError) as raised:
        await caller.result()
    assert "TimeoutError" in str(raised.value.cause)


async def test_an_outcome_that_comes_with_the_cancellation_leaves_nothing_to_cancel(
    client: Client, api: StandInApi, runner: Any
) -> None:
    queue = f"caller-{uuid.uuid4()}"
    async with serving(client, queue, api, runner):
        caller = await client.start_workflow(
            Caller.run, Job(), id=str(uuid.uuid4()), task_queue=queue
        )
        await api.started.wait()
    # No worker runs: outcome and cancellation reach the workflow in one activation.
    await complete(client, api.starts[0])
    await caller.cancel()
    async with serving(client, queue, api, runner):
        await cancelled(caller)
    assert api.cancels == []
    await replay(await caller.fetch_history(), api, runner)


async def test_a_caller_evicted_from_the_cache_resumes(
    client: Client, api: StandInApi, runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stigma_client")
    queue = f"caller-{uuid.uuid4()}"
    async with serving(client, queue, api, runner, max_cached_workflows=0):
        caller = await client.start_workflow(
            Caller.run, Job(), id=str(uuid.uuid4()), task_queue=queue
        )
        await api.started.wait()
        await complete(client, api.starts[0])
        assert (await caller.result())["text"] == "fine"
    assert api.cancels == []
    assert [record.message for record in caplog.records].count("resumed") == 1


async def test_a_cancelled_caller_evicted_from_the_cache_still_cancels(
    client: Client, api: StandInApi, runner: Any
) -> None:
    queue = f"caller-{uuid.uuid4()}"
    async with serving(client, queue, api, runner, max_cached_workflows=0):
        caller = await client.start_workflow(
            Caller.run, Job(), id=str(uuid.uuid4()), task_queue=queue
        )
        await api.started.wait()
        await caller.cancel()
        await cancelled(caller)
    assert len(api.cancels) == 1
    await replay(await caller.fetch_history(), api, runner)


async def test_the_plugin_may_be_given_to_client_and_worker(
    client: Client, api: StandInApi, runner: Any
) -> None:
    plugin = StigmaPlugin(api.address)
    config = client.config()
    config["plugins"] = [plugin]
    queue = f"caller-{uuid.uuid4()}"
    with_plugin = Client(**config)
    async with (
        Worker(with_plugin, task_queue=queue, workflows=[Caller], workflow_runner=runner),
        Worker(client, task_queue=f"{queue}-2", workflows=[Caller], plugins=[plugin]),
    ):
        caller = await with_plugin.start_workflow(
            Caller.run, Job(), id=str(uuid.uuid4()), task_queue=queue
        )
        await api.started.wait()
        await complete(client, api.starts[0])
        assert (await caller.result())["text"] == "fine"
