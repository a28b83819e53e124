"""Runs and activities that Temporal moves: paused, reset, continued as new.

One agent all along, or one workflow execution, which asks one agent.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    ResetWorkflowExecutionRequest,
    UnpauseActivityRequest,
)
from temporalio.client import WorkflowHandle

from stigma.agent.v1.agent_execution_pb2 import (
    CALLBACK_STATE_DELIVERED,
    CALLBACK_STATE_RESOLVED_OR_GONE,
)
from stigma.contracts.executions import Kind, phase_name
from tests.integration.callers import ForeignCaller, Job, Movable, PythonCaller
from tests.integration.executions import AnyExecutions, Called, WorkflowExecutions
from tests.integration.installation import Installation
from tests.stack.waiting import eventually

CALLER_MOVED = "caller activity paused, unpaused, reset; caller reset or continued-as-new"
AGENT_MOVED = "agent reset; agent continued-as-new"
HEARTBEAT = 4.0

# Of workflow executions each move once: the activity that is moved is the same code.
MOVES = [
    *((Kind.AGENT, PythonCaller, moved) for moved in ("paused", "unpaused", "reset")),
    *((Kind.AGENT, ForeignCaller, moved) for moved in ("paused", "unpaused", "reset")),
    (Kind.WORKFLOW, PythonCaller, "paused"),
    (Kind.WORKFLOW, ForeignCaller, "unpaused"),
    (Kind.WORKFLOW, PythonCaller, "reset"),
]


async def reset(
    installation: Installation, workflow_id: str, task: int
) -> WorkflowHandle[Any, Any]:
    """Reset a workflow to before the completion of its nth workflow task; the new run."""
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED

    async def finished() -> int | None:
        events = await installation.history(workflow_id)
        found = [event.event_id for event in events if event.event_type == completed]
        return found[task - 1] if len(found) >= task else None

    event_id = await eventually(finished, what=f"workflow task {task} of {workflow_id}")
    reply = await installation.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=installation.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            reason="a test wants it",
            workflow_task_finish_event_id=event_id,
            request_id=uuid.uuid4().hex,
        )
    )
    return installation.client.get_workflow_handle(workflow_id, run_id=reply.run_id)


async def pending(handle: WorkflowHandle[Any, Any]) -> Any:
    """The workflow's one pending activity, as Temporal describes it."""
    [activity] = (await handle.describe()).raw_description.pending_activities
    return activity


async def until_looked_after(installation: Installation, execution_id: str) -> None:
    """Return once the agent has seen, after this call, that its caller still waits."""
    handle = installation.client.get_workflow_handle(execution_id)

    async def looks() -> int:
        activities = (await handle.describe()).raw_description.pending_activities
        return max(
            (a.attempt for a in activities if a.activity_type.name == "watch_caller"), default=0
        )

    before = await looks()

    async def looked() -> bool:
        # The next attempt waits for its time: the one before has looked.
        return await looks() > before + 1

    await eventually(looked, what="two looks at the caller")


async def assert_one_agent(
    installation: Installation, executions: AnyExecutions, called: Called
) -> None:
    execution = await executions.told(called.execution_id)
    assert phase_name(execution) == "COMPLETED"
    assert len(installation.gate.calls(called.job.message)) == 1


@pytest.mark.contract(CALLER_MOVED, "agent", "workflow")
@pytest.mark.parametrize(("executions", "caller", "moved"), MOVES, indirect=["executions"])
async def test_activity(
    installation: Installation, executions: AnyExecutions, caller: Any, moved: str
) -> None:
    message = uuid.uuid4().hex
    called = await executions.call(caller, Job("held", message, heartbeat_timeout=HEARTBEAT))
    call = await installation.gate.held(message)
    service = installation.client.workflow_service
    which: dict[str, Any] = {
        "namespace": installation.client.namespace,
        "execution": WorkflowExecution(workflow_id=called.workflow.id),
        "id": (await pending(called.workflow)).activity_id,
    }
    if moved == "reset":
        await service.reset_activity(ResetActivityRequest(**which))
    else:
        await service.pause_activity(PauseActivityRequest(**which))
    await until_looked_after(installation, called.execution_id)
    if moved == "unpaused":
        await service.unpause_activity(UnpauseActivityRequest(**which))
    call.answer("right")
    assert await called.result() == "right"
    await assert_one_agent(installation, executions, called)


@pytest.mark.contract(CALLER_MOVED, "agent", "workflow")
@pytest.mark.parametrize("first", ["bound", "answered"])
async def test_caller_reset_after_its_call(
    installation: Installation, executions: AnyExecutions, first: str
) -> None:
    """The call is in the new run's history: its activity is handed out again, with a new token."""
    message = uuid.uuid4().hex
    called = await executions.call(PythonCaller, Job("held", message))
    call = await installation.gate.held(message)
    await called.workflow.signal(Movable.poke)
    again = await reset(installation, called.workflow.id, task=2)
    if first == "bound":
        await executions.until_bound(called.execution_id, 2)
    call.answer("right")
    assert await again.result() == "right"
    await assert_one_agent(installation, executions, called)
    status = (await executions.told(called.execution_id)).status
    if first == "bound":
        assert status.callback.state == CALLBACK_STATE_DELIVERED
    else:
        # Either the answer or the new run's attempt came first.
        assert status.callback.state in {CALLBACK_STATE_DELIVERED, CALLBACK_STATE_RESOLVED_OR_GONE}


@pytest.mark.contract(CALLER_MOVED, "agent", "workflow")
async def test_caller_reset_before_its_call(
    installation: Installation, executions: AnyExecutions
) -> None:
    """The new run asks anew: another request, which is answered; the first one is stopped."""
    message, group = uuid.uuid4().hex, uuid.uuid4().hex
    job = Job("held", message, group=group, heartbeat_timeout=HEARTBEAT)
    called = await executions.call(PythonCaller, job, names_request=False)
    abandoned = await installation.gate.held(message)
    again = await reset(installation, called.workflow.id, task=1)
    call = await installation.gate.held(message, nth=2)
    call.answer("right")
    assert await again.result() == "right"
    found = await executions.of_group(group, 2)
    ended = [await executions.told(execution.id) for execution in found]
    assert sorted(phase_name(execution) for execution in ended) == ["CANCELLED", "COMPLETED"]
    await abandoned.gone.wait()


@pytest.mark.contract(CALLER_MOVED, "agent", "workflow")
async def test_caller_continued_as_new(
    installation: Installation, executions: AnyExecutions
) -> None:
    """It names its request itself, so that the next run asks for the same execution."""
    message = uuid.uuid4().hex
    called = await executions.call(PythonCaller, Job("held", message))
    call = await installation.gate.held(message)
    await called.workflow.signal(Movable.carry_on)
    await executions.until_bound(called.execution_id, 2)
    call.answer("right")
    assert await called.result() == "right"
    described = await installation.client.get_workflow_handle(called.workflow.id).describe()
    assert described.run_id != called.workflow.result_run_id
    await assert_one_agent(installation, executions, called)


@pytest.mark.contract(AGENT_MOVED)
@pytest.mark.parametrize("caller", [PythonCaller, ForeignCaller], ids=["python", "foreign"])
async def test_agent_reset(installation: Installation, caller: Any) -> None:
    """An operator resets the agent: it works again from there, for the same caller."""
    message = uuid.uuid4().hex
    called = await installation.call(caller, Job("held", message, heartbeat_timeout=30))
    abandoned = await installation.gate.held(message)
    await reset(installation, called.execution_id, task=1)
    call = await installation.gate.held(message, nth=2)
    call.answer("right")
    assert await called.result() == "right"
    execution = await installation.told(called.execution_id)
    assert phase_name(execution) == "COMPLETED"
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    assert not abandoned.waits or await abandoned.gone.wait()


@pytest.mark.contract(AGENT_MOVED, "workflow")
async def test_workflow_execution_reset(
    installation: Installation, workflows: WorkflowExecutions
) -> None:
    """An operator resets it to before its run, which begins anew, for the same caller."""
    message = uuid.uuid4().hex
    called = await workflows.call(PythonCaller, Job("held", message))
    abandoned = await installation.gate.held(message)
    first = (await workflows.run_of(called.execution_id).describe()).run_id
    await reset(installation, called.execution_id, task=1)
    call = await installation.gate.held(message, nth=2)
    call.answer("right")
    assert await called.result() == "right"
    execution = await workflows.told(called.execution_id)
    assert phase_name(execution) == "COMPLETED"
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    assert execution.status.run.run_id != first
    # Its agent looks after its caller, the run that is gone, less often than a test waits.
    abandoned.answer("too late")


@pytest.mark.contract(AGENT_MOVED)
@pytest.mark.parametrize("caller", [PythonCaller, ForeignCaller], ids=["python", "foreign"])
async def test_agent_continued_as_new(installation: Installation, caller: Any) -> None:
    job = Job("growing", "m" * 1000, repeat=80, heartbeat_timeout=30)
    called = await installation.call(caller, job)
    assert await called.result() == "grown"
    execution = await installation.told(called.execution_id)
    assert execution.status.steps == 11
    assert execution.status.callback.state == CALLBACK_STATE_DELIVERED
    handle = installation.client.get_workflow_handle(called.execution_id)
    described = (await handle.describe()).raw_description.workflow_execution_info
    assert described.first_run_id not in {"", described.execution.run_id}
