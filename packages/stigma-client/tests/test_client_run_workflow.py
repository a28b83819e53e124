"""`run_workflow` on a real Temporal server; a stand-in for the API resolves the token."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from client_test_workflow_caller import Order, WorkflowCaller
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from stigma.agent.v1.agent_pb2 import FAILURE_REASON_WORKFLOW_ERROR
from stigma.contracts import limits, payloads, tokens
from stigma.contracts.errors import ErrorType, failure_details, failure_message
from stigma.workflow.v1.workflow_execution_pb2 import (
    WORKFLOW_EXECUTION_PHASE_CANCELLED,
    WORKFLOW_EXECUTION_PHASE_COMPLETED,
    WORKFLOW_EXECUTION_PHASE_FAILED,
    WORKFLOW_EXECUTION_PHASE_TIMED_OUT,
    WorkflowExecution,
    WorkflowExecutionPhase,
)
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    StartWorkflowRequest,
)
from stigma_client import (
    StigmaPlugin,
    WorkflowExecutionCancelled,
    WorkflowExecutionError,
    WorkflowExecutionFailed,
    WorkflowExecutionTimedOut,
)
from stigma_client.activities import WorkflowActivities
from stigma_client.connection import ApiConnection

if TYPE_CHECKING:
    from conftest import StandInWorkflows

_TYPES: dict[type[WorkflowExecutionError], str] = {
    WorkflowExecutionFailed: "WORKFLOW_EXECUTION_FAILED",
    WorkflowExecutionTimedOut: "WORKFLOW_EXECUTION_TIMEOUT",
    WorkflowExecutionCancelled: "WORKFLOW_EXECUTION_CANCELLED",
}

Called = WorkflowHandle[WorkflowCaller, dict[str, Any]]
Start = Callable[[Order], Awaitable[Called]]


@pytest.fixture(params=[False, True], ids=["unsandboxed", "sandboxed"])
def runner(request: pytest.FixtureRequest) -> SandboxedWorkflowRunner | UnsandboxedWorkflowRunner:
    return SandboxedWorkflowRunner() if request.param else UnsandboxedWorkflowRunner()


@pytest.fixture
async def start(client: Client, workflows: StandInWorkflows, runner: Any) -> AsyncIterator[Start]:
    """Start a caller; every history is replayed at the end."""
    queue = f"caller-{uuid.uuid4()}"
    handles: list[Called] = []

    async def start(order: Order) -> Called:
        handle = await client.start_workflow(
            WorkflowCaller.run, order, id=str(uuid.uuid4()), task_queue=queue
        )
        handles.append(handle)
        return handle

    plugin = StigmaPlugin(workflows.address)
    async with Worker(
        client,
        task_queue=queue,
        workflows=[WorkflowCaller],
        workflow_runner=runner,
        plugins=[plugin],
    ):
        yield start
        replayer = Replayer(workflows=[WorkflowCaller], workflow_runner=runner, plugins=[plugin])
        for handle in handles:
            history = await handle.fetch_history()
            result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
            assert result.replay_failure is None


def ended(phase: WorkflowExecutionPhase.ValueType) -> WorkflowExecution:
    execution = WorkflowExecution(id="workflow-1")
    execution.status.phase = phase
    if phase == WORKFLOW_EXECUTION_PHASE_COMPLETED:
        execution.status.output.json = '{"shipped": 9223372036854775809}'
    else:
        execution.status.failure.reason = FAILURE_REASON_WORKFLOW_ERROR
        execution.status.failure.step = "/do/0/ship"
    return execution


async def complete(client: Client, request: StartWorkflowRequest) -> None:
    handle = client.get_async_activity_handle(task_token=request.callback_token)
    await handle.complete(payloads.to_binary_payload(ended(WORKFLOW_EXECUTION_PHASE_COMPLETED)))


async def fail(
    client: Client, request: StartWorkflowRequest, phase: WorkflowExecutionPhase.ValueType
) -> None:
    execution = ended(phase)
    error = ApplicationError(
        failure_message(execution),
        failure_details(execution),
        type=ErrorType.of(execution),
        non_retryable=True,
    )
    await client.get_async_activity_handle(task_token=request.callback_token).fail(error)


async def failure_of(caller: Called) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as raised:
        await caller.result()
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause


async def test_the_workflows_output_comes_back(
    start: Start, workflows: StandInWorkflows, client: Client
) -> None:
    before = datetime.now(UTC)
    caller = await start(Order())
    await workflows.started.wait()
    (request,) = workflows.starts
    await complete(client, request)
    assert await caller.result() == {"id": "workflow-1", "output": {"shipped": 2**63 + 1}}
    assert (request.workflow_id, request.session_id) == ("shipping@2", "session")
    assert request.input_json == '{"order":9223372036854775808,"pad":""}'
    assert dict(request.labels) == {"team": "shop"}
    assert request.config.timeout.ToTimedelta() == timedelta(hours=1)
    assert (request.caller.workflow_id, request.caller.run_id) == (caller.id, caller.result_run_id)
    assert request.caller.activity_id == f"workflow-{request.request_id}"
    assert request.caller.heartbeat_timeout.ToTimedelta() == timedelta(seconds=30)
    left = request.callback_deadline.ToDatetime(UTC) - before
    assert timedelta(seconds=85) < left < timedelta(seconds=100)


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (WORKFLOW_EXECUTION_PHASE_FAILED, WorkflowExecutionFailed),
        (WORKFLOW_EXECUTION_PHASE_TIMED_OUT, WorkflowExecutionTimedOut),
        (WORKFLOW_EXECUTION_PHASE_CANCELLED, WorkflowExecutionCancelled),
    ],
)
async def test_each_outcome_has_its_error(
    start: Start,
    workflows: StandInWorkflows,
    client: Client,
    phase: WorkflowExecutionPhase.ValueType,
    kind: type[WorkflowExecutionError],
) -> None:
    caught, uncaught = await start(Order(swallow=True)), await start(Order())
    for caller in (caught, uncaught):
        await eventually_started(workflows, caller)
    for request in workflows.starts:
        await fail(client, request, phase)
    assert await caught.result() == {
        "class": kind.__name__,
        "reason": "WORKFLOW_ERROR",
        "step": "/do/0/ship",
        "id": "workflow-1",
    }
    error = await failure_of(uncaught)
    assert error.type == _TYPES[kind]
    assert error.details[0]["execution"]["id"] == "workflow-1"


async def eventually_started(workflows: StandInWorkflows, caller: Called) -> None:
    while caller.id not in {request.caller.workflow_id for request in workflows.starts}:
        workflows.started.clear()
        await workflows.started.wait()


async def test_a_transient_fault_is_retried_and_a_refusal_is_not(
    start: Start, workflows: StandInWorkflows
) -> None:
    workflows.refuse(grpc.StatusCode.UNAVAILABLE)
    workflows.refuse(grpc.StatusCode.NOT_FOUND, "no such workflow")
    error = await failure_of(await start(Order()))
    assert error.type == "WORKFLOW_EXECUTION_FAILED"
    assert error.details[0] == {"reason": "NOT_FOUND", "step": "start_workflow"}
    assert error.message == "NOT_FOUND: no such workflow (at start_workflow)"
    first, again = workflows.starts
    assert first.request_id == again.request_id
    assert first.callback_token != again.callback_token


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (Order(name=""), "INVALID_ARGUMENT"),
        (Order(document_bytes=1), "INVALID_ARGUMENT"),
        (Order(timeout=0.0), "INVALID_ARGUMENT"),
        (Order(name="", document_bytes=limits.MAX_DOCUMENT_BYTES + 1), "TOO_LARGE"),
        (Order(input_bytes=limits.MAX_INPUT_BYTES), "TOO_LARGE"),
    ],
)
async def test_a_malformed_call_fails_the_workflow(
    start: Start, workflows: StandInWorkflows, order: Order, reason: str
) -> None:
    error = await failure_of(await start(order))
    assert error.type == "WORKFLOW_EXECUTION_FAILED"
    assert error.details[0] == {"reason": reason, "step": "start_workflow"}
    assert workflows.starts == []


async def test_a_silent_workflow_times_out(
    start: Start, workflows: StandInWorkflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALLBACK_MARGIN", timedelta(seconds=0.5))
    outcome = await (await start(Order(timeout=0.5, swallow=True))).result()
    assert (outcome["class"], outcome["reason"]) == ("WorkflowExecutionTimedOut", "DEADLINE")


async def test_a_stranger_completion_is_a_failure(
    start: Start, workflows: StandInWorkflows, client: Client
) -> None:
    caller = await start(Order(swallow=True))
    await workflows.started.wait()
    handle = client.get_async_activity_handle(task_token=workflows.starts[0].callback_token)
    await handle.complete({"not": "an execution"})
    outcome = await caller.result()
    assert (outcome["class"], outcome["reason"]) == ("WorkflowExecutionFailed", "INTERNAL")


async def test_a_cancelled_caller_cancels_its_workflow(
    start: Start, workflows: StandInWorkflows
) -> None:
    caller = await start(Order(request_id="mine"))
    await workflows.started.wait()
    await caller.cancel()
    with pytest.raises(WorkflowFailureError) as raised:
        await caller.result()
    assert isinstance(raised.value.cause, CancelledError)
    assert [(each.request_id, each.namespace) for each in workflows.cancels] == [
        ("mine", "default")
    ]


async def test_a_timeout_of_the_callers_own_cancels_its_workflow(
    start: Start, workflows: StandInWorkflows
) -> None:
    caller = await start(Order(within=0.5))
    assert await caller.result() == {"class": "TimeoutError"}
    assert len(workflows.cancels) == 1


async def test_a_replay_of_what_is_done_is_the_activitys_result(
    workflows: StandInWorkflows,
) -> None:
    done = ended(WORKFLOW_EXECUTION_PHASE_COMPLETED)
    workflows.answers = [done]
    connection = ApiConnection(workflows.address)
    answer = await ActivityEnvironment().run(
        WorkflowActivities(connection).call_workflow,
        payloads.to_binary_payload(StartWorkflowRequest(workflow_id="shipping", request_id="r-1")),
    )
    await connection.close()
    assert payloads.from_raw(answer, WorkflowExecution) == done


async def test_a_cancellation_that_is_refused_says_where(workflows: StandInWorkflows) -> None:
    workflows.refuse_cancel(grpc.StatusCode.PERMISSION_DENIED)
    connection = ApiConnection(workflows.address)
    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(
            WorkflowActivities(connection).cancel_workflow,
            payloads.to_binary_payload(CancelWorkflowExecutionRequest(request_id="r-1")),
        )
    await connection.close()
    assert raised.value.type == "WORKFLOW_EXECUTION_FAILED"
    assert raised.value.details[0] == {"reason": "PERMISSION_DENIED", "step": "cancel_workflow"}


async def test_each_step_is_logged_with_the_fingerprint(
    workflows: StandInWorkflows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stigma_client")
    connection = ApiConnection(workflows.address)
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - the SDK's marker is private
        await ActivityEnvironment().run(
            WorkflowActivities(connection).call_workflow,
            payloads.to_binary_payload(
                StartWorkflowRequest(workflow_id="shipping", request_id="r-1")
            ),
        )
    await connection.close()
    assert type(raised.value).__name__ == "_CompleteAsyncError"
    assert [record.message for record in caplog.records] == [
        "token_taken",
        "start_requested",
        "acknowledged",
        "pending",
    ]
    (request,) = workflows.starts
    for record in caplog.records:
        assert record.__dict__["workflow"] == "shipping"
        assert record.__dict__["request_id"] == "r-1"
        fingerprint = tokens.fingerprint(request.callback_token)
        assert record.__dict__["callback_fingerprint"] == fingerprint
    assert caplog.records[-1].__dict__["execution_id"].startswith("workflow-")
