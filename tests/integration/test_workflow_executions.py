"""The failure contract of workflow executions: what their callers see, by each kind of caller."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError

from stigma.agent.v1.agent_execution_pb2 import (
    CALLBACK_STATE_DELIVERED,
    CALLBACK_STATE_UNSPECIFIED,
)
from stigma.contracts import errors, limits
from stigma.contracts.executions import phase_name
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from tests.integration.callers import Job
from tests.integration.installation import (
    Called,
    Installation,
    failure_of,
    scheduled,
)
from tests.integration.workflow_calls import (
    ForeignWorkflowCaller,
    PythonWorkflowCaller,
    WorkflowCalls,
    document,
)

LOST = "agent workflow terminated / run timeout / stuck on a bad deploy"
DURING_DELIVERY = "cancel or deadline during delivery"

HEARTBEAT = 4.0
# A run hears of its end, tells its agent, and that its model call.
HANG_UP = timedelta(seconds=3)
CALLERS = pytest.mark.parametrize(
    ("caller", "attempts"),
    [(PythonWorkflowCaller, 0), (ForeignWorkflowCaller, 0), (ForeignWorkflowCaller, 1)],
    ids=["python", "foreign", "foreign-once"],
)


def said(failure: ApplicationError) -> dict[str, Any]:
    """The failure's one detail."""
    [details] = failure.details
    assert isinstance(details, dict)
    return details


async def run_closed(workflows: WorkflowCalls, execution_id: str) -> WorkflowExecutionStatus | None:
    """How the engine's run closed, waiting for it."""
    run = workflows.run_of(execution_id)
    with pytest.raises(WorkflowFailureError):
        await run.result()
    return (await run.describe()).status


# --- how it ends


@pytest.mark.contract("agent succeeds", "workflow")
@CALLERS
async def test_success(
    installation: Installation, workflows: WorkflowCalls, caller: Any, attempts: int
) -> None:
    job = Job("echo", "hello", attempts=attempts, heartbeat_timeout=30)
    called = await workflows.call(caller, job)
    assert await called.result() == "hello"
    execution = await workflows.ended(called.execution_id)
    assert phase_name(execution) == "COMPLETED"
    assert json.loads(execution.status.output.json) == {"said": "hello"}
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    run = await workflows.run_of(called.execution_id).describe()
    assert (execution.status.run.workflow_id, execution.status.run.run_id) == (run.id, run.run_id)
    assert run.workflow_type == "echo"
    # Within one local activity: nothing was scheduled to deliver it.
    assert (
        scheduled(await installation.history(called.execution_id), "deliver_workflow_callback") == 0
    )


@pytest.mark.contract("agent fails, any exception", "workflow")
@CALLERS
async def test_failure(
    installation: Installation, workflows: WorkflowCalls, caller: Any, attempts: int
) -> None:
    job = Job("broken", "hello", attempts=attempts, heartbeat_timeout=30)
    called = await workflows.call(caller, job)
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert failure.non_retryable
    assert said(failure)["reason"] == "WORKFLOW_ERROR"
    assert said(failure)["step"] == "/do/0/break"
    assert "Broken: it is" in failure.message
    told = errors.workflow_execution_from_details(said(failure))
    assert told is not None
    execution = await workflows.ended(called.execution_id)
    assert told.id == execution.id
    assert phase_name(told) == phase_name(execution) == "FAILED"
    assert json.loads(execution.status.error_json)["type"] == "https://example.com/broken"
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    # Within one activity, whose schedule is the decision in history.
    assert (
        scheduled(await installation.history(called.execution_id), "deliver_workflow_callback") == 1
    )


@pytest.mark.contract("agent fails, any exception", "workflow")
async def test_failure_of_an_agent(workflows: WorkflowCalls) -> None:
    called = await workflows.call(PythonWorkflowCaller, Job("disappointed", "hello"))
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert (said(failure)["reason"], said(failure)["step"]) == ("WORKFLOW_ERROR", "/do/0/ask")
    problem = json.loads((await workflows.ended(called.execution_id)).status.error_json)
    assert problem["type"].endswith("/errors/agent/failed")
    assert problem["detail"].startswith("INVALID_REQUEST")


@pytest.mark.contract("agent fails, any exception", "workflow")
async def test_a_document_that_the_engine_refuses(
    installation: Installation, workflows: WorkflowCalls
) -> None:
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    wrong = document("wrong", "t: {set: {a: 1}, then: nowhere}")
    execution = await workflows.start(spec=WorkflowSpec(document=wrong), callback_token=token)
    failure = await failure_of(Called(parked, Job("", ""), execution.id))
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert (said(failure)["reason"], said(failure)["step"]) == ("INVALID_WORKFLOW", "/do/0/t/then")
    assert "nowhere" in failure.message


@pytest.mark.contract("agent exceeds its deadline", "workflow")
@CALLERS
async def test_deadline(workflows: WorkflowCalls, caller: Any, attempts: int) -> None:
    job = Job("slow", "hello", attempts=attempts, agent_timeout=1, heartbeat_timeout=30)
    called = await workflows.call(caller, job)
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_TIMEOUT"
    assert said(failure)["reason"] == "DEADLINE"
    execution = await workflows.ended(called.execution_id)
    assert phase_name(execution) == "TIMED_OUT"
    late = execution.status.end_time.ToDatetime() - execution.status.deadline.ToDatetime()
    assert timedelta() <= late < timedelta(seconds=3)
    closed = await run_closed(workflows, called.execution_id)
    assert closed == WorkflowExecutionStatus.CANCELED


@pytest.mark.contract("agent cancelled through the API", "workflow")
@CALLERS
async def test_cancelled_through_the_api(
    installation: Installation, workflows: WorkflowCalls, caller: Any, attempts: int
) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, attempts=attempts, heartbeat_timeout=30)
    called = await workflows.call(caller, job)
    call = await installation.gate.held(message)
    await workflows.cancel(called.execution_id)
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_CANCELLED"
    assert said(failure)["reason"] == "CANCELLED"
    await installation.gate.hung_up(call, within=HANG_UP)
    execution = await workflows.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert execution.status.failure.message == "a test wants it"
    closed = await run_closed(workflows, called.execution_id)
    assert closed == WorkflowExecutionStatus.CANCELED


@pytest.mark.contract("no token", "workflow")
async def test_nobody_waits(installation: Installation, workflows: WorkflowCalls) -> None:
    started = await workflows.start(
        workflow_id="echo", input_json='{"said": 1}', request_id=uuid.uuid4().hex
    )
    assert started.id == workflows.execution_id(started.spec.request_id)
    execution = await workflows.ended(started.id)
    assert phase_name(execution) == "COMPLETED"
    assert execution.status.output.json == '{"said":1}'
    assert execution.status.callback.state == CALLBACK_STATE_UNSPECIFIED
    assert scheduled(await installation.history(started.id), "watch_caller") == 0
    failed = await workflows.ended((await workflows.start(workflow_id="broken")).id)
    assert phase_name(failed) == "FAILED"
    assert scheduled(await installation.history(failed.id), "deliver_workflow_callback") == 0


@pytest.mark.contract("result or input too large", "workflow")
@CALLERS
async def test_result_too_large(workflows: WorkflowCalls, caller: Any, attempts: int) -> None:
    job = Job("large", "m" * 1000, repeat=360, attempts=attempts, heartbeat_timeout=30)
    called = await workflows.call(caller, job)
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert said(failure)["reason"] == "TOO_LARGE"
    assert str(limits.MAX_OUTPUT_BYTES) in failure.message
    assert "1080" in failure.message
    assert phase_name(await workflows.ended(called.execution_id)) == "FAILED"


@pytest.mark.contract("result or input too large", "workflow")
async def test_input_too_large(workflows: WorkflowCalls) -> None:
    called = await workflows.call(PythonWorkflowCaller, Job("echo", "m" * 1000, repeat=1500))
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert said(failure)["reason"] == "TOO_LARGE"
    assert str(limits.MAX_INPUT_BYTES) in failure.message
    assert not await workflows.exists(called.execution_id)


@pytest.mark.contract("foreign caller without heartbeat, with max_attempts = 1", "workflow")
async def test_foreign_caller_without_heartbeat(workflows: WorkflowCalls) -> None:
    called = await workflows.call(ForeignWorkflowCaller, Job("echo", "hello", attempts=1))
    assert await called.result() == "hello"
    broken = await workflows.call(ForeignWorkflowCaller, Job("broken", "hello", attempts=1))
    assert (await failure_of(broken)).type == "WORKFLOW_EXECUTION_FAILED"


# --- callers that stop waiting


@pytest.mark.contract("caller cancelled (ours)", "workflow")
async def test_caller_cancelled(installation: Installation, workflows: WorkflowCalls) -> None:
    message = uuid.uuid4().hex
    called = await workflows.call(PythonWorkflowCaller, Job("held", message))
    call = await installation.gate.held(message)
    await called.workflow.cancel()
    await installation.gate.hung_up(call, within=HANG_UP)
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, CancelledError)
    execution = await workflows.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert errors.reason_name(execution.status.failure.reason) == "CANCELLED"
    assert execution.status.failure.message == "the calling workflow was cancelled"


@pytest.mark.contract("caller cancelled, waits for cancellation (foreign)", "workflow")
async def test_caller_cancelled_and_waiting(
    installation: Installation, workflows: WorkflowCalls
) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT, waits_for_cancellation=True)
    called = await workflows.call(ForeignWorkflowCaller, job)
    call = await installation.gate.held(message)
    await called.workflow.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    assert isinstance(caught.value.cause, CancelledError)
    await installation.gate.hung_up(call, within=HANG_UP)
    execution = await workflows.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert errors.reason_name(execution.status.failure.reason) == "CANCELLED"


@pytest.mark.contract("caller terminated, timed out", "workflow")
@pytest.mark.parametrize(
    ("caller", "ending"),
    [
        (PythonWorkflowCaller, "terminated"),
        (ForeignWorkflowCaller, "terminated"),
        # Ours hears of its own timeout before it comes, as the deadline.
        (ForeignWorkflowCaller, "timed out"),
    ],
    ids=["python", "foreign", "foreign timed out"],
)
async def test_caller_gone(
    installation: Installation, workflows: WorkflowCalls, caller: Any, ending: str
) -> None:
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT, timeout=600)
    options: dict[str, Any] = {"run_timeout": timedelta(seconds=2)} if ending == "timed out" else {}
    called = await workflows.call(caller, job, **options)
    call = await installation.gate.held(message)
    if ending == "terminated":
        await called.workflow.terminate("a test wants it")
    execution = await workflows.ended(called.execution_id)
    assert phase_name(execution) == "CANCELLED"
    assert errors.reason_name(execution.status.failure.reason) == "CALLER_GONE"
    closed = (await called.workflow.describe()).close_time
    assert closed is not None
    noticed = execution.status.end_time.ToDatetime(closed.tzinfo)
    assert timedelta() < noticed - closed < timedelta(seconds=HEARTBEAT)
    await installation.gate.hung_up(call, within=HANG_UP)


# --- what comes together


@pytest.mark.contract(DURING_DELIVERY, "workflow")
async def test_a_cancel_at_any_moment(installation: Installation, workflows: WorkflowCalls) -> None:
    """The answer and a cancellation meet at ten different moments."""
    outcomes = await asyncio.gather(*(race(installation, workflows, nth) for nth in range(10)))
    assert all(caller == execution for caller, execution in outcomes), outcomes


async def race(installation: Installation, workflows: WorkflowCalls, nth: int) -> tuple[str, str]:
    """Let an answer meet a cancellation; what caller and execution made of it."""
    message = uuid.uuid4().hex
    called = await workflows.call(PythonWorkflowCaller, Job("held", message))
    call = await installation.gate.held(message)
    call.answer("answered")
    for _ in range(nth):  # each is a few milliseconds
        await workflows.execution(called.execution_id)
    await workflows.cancel(called.execution_id)
    ended = await workflows.ended(called.execution_id)
    return await heard(called), phase_name(ended)


async def heard(called: Called) -> str:
    """What the caller heard, as the execution's phase."""
    try:
        await called.result()
    except WorkflowFailureError as error:
        cause: BaseException | None = error.cause
        if isinstance(cause, ActivityError):
            cause = cause.cause
        assert isinstance(cause, ApplicationError), cause
        return str(cause.type).removeprefix("WORKFLOW_EXECUTION_")
    return "COMPLETED"


# --- what is lost


@pytest.mark.contract(LOST, "workflow")
async def test_execution_terminated(installation: Installation, workflows: WorkflowCalls) -> None:
    """Its caller's next attempt is told; the run it leaves behind stops, and so does its agent."""
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT)
    called = await workflows.call(PythonWorkflowCaller, job)
    call = await installation.gate.held(message)
    await installation.client.get_workflow_handle(called.execution_id).terminate()
    await installation.gate.hung_up(call, within=HANG_UP)
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert said(failure)["reason"] == "TERMINATED"
    closed = await run_closed(workflows, called.execution_id)
    assert closed == WorkflowExecutionStatus.CANCELED


@pytest.mark.contract(LOST, "workflow")
async def test_run_terminated(installation: Installation, workflows: WorkflowCalls) -> None:
    message = uuid.uuid4().hex
    called = await workflows.call(PythonWorkflowCaller, Job("held", message))
    call = await installation.gate.held(message)
    await workflows.run_of(called.execution_id).terminate("a test wants it")
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert said(failure)["reason"] == "TERMINATED"
    assert "in the engine" in failure.message
    # Nobody is left to ask for it: its agent stops when it finds its caller gone.
    call.answer("too late")
