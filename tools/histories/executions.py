"""Workflow executions: how they end, and what happens on the way."""

from __future__ import annotations

import json

from temporalio.api.enums.v1 import EventType

from stigma.contracts import engine
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    StartWorkflowRequest,
)
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.reliability.calls import events
from tests.reliability.documents import HEADER
from tests.stack.faults import Fail
from tests.stack.waiting import eventually
from tools.histories.scenario import Recorder, Scenario

WAITS = "{wait: PT60S}"


async def workflow_success(record: Recorder) -> None:
    """The document completes."""
    run = await record.site.callers.run("{set: {answer: 42}}")
    await record.execution("workflow-success", run)


async def workflow_failure(record: Recorder) -> None:
    """The document raises an error."""
    run = await record.site.callers.run("{raise: {error: {type: about:blank, status: 500}}}")
    await record.execution("workflow-failure", run)


async def workflow_refused(record: Recorder) -> None:
    """The document is not valid."""
    run = await record.site.callers.run("{set: {answer: 42}, then: nowhere}")
    await record.execution("workflow-refused", run)


async def workflow_timed_out(record: Recorder) -> None:
    """The deadline passes."""
    await record.execution("workflow-timed-out", await record.site.callers.run(WAITS, timeout=2))


async def workflow_caller_watched(record: Recorder) -> None:
    """Long enough to look after the caller."""
    run = await record.site.callers.run("{wait: PT5S}", heartbeat_timeout=4)
    await record.execution("workflow-caller-watched", run)


async def workflow_cancelled_by_its_caller(record: Recorder) -> None:
    """The calling workflow is cancelled."""
    run = await record.site.callers.run(WAITS)
    await run.began()
    await run.handle.cancel()
    await record.execution("workflow-cancelled-by-its-caller", run)


async def workflow_cancelled_through_the_api(record: Recorder) -> None:
    """Somebody else cancels it."""
    run = await record.site.callers.run(WAITS)
    await run.began()
    cancel = CancelWorkflowExecutionRequest(id=run.execution.id)
    await WorkflowExecutionServiceStub(record.stack.channel).CancelWorkflowExecution(cancel)
    await record.execution("workflow-cancelled-through-the-api", run)


async def workflow_run_terminated(record: Recorder) -> None:
    """Somebody terminates the engine's run."""
    run = await record.site.callers.run(WAITS)
    await run.began()
    await run.engine.terminate()
    await record.execution("workflow-run-terminated", run)


async def workflow_registered(record: Recorder) -> None:
    """A document is checked, registered, and started without a caller."""
    document = HEADER + "do: [{answer: {set: {answer: '${ .n }'}}}]\n"
    workflow = Workflow(name="registered", spec=WorkflowSpec(document=document))
    workflows = WorkflowServiceStub(record.stack.channel)
    await workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))
    await record.of_type("document-checked", "validate-document")
    request = StartWorkflowRequest(
        workflow_id="registered", input_json=json.dumps({"n": 1}), request_id="registered"
    )
    api = WorkflowExecutionServiceStub(record.stack.channel)
    started = await api.StartWorkflow(request)
    await record.by_id("workflow-registered.execution", started.id)
    await record.by_id("workflow-registered.run", engine.run_id(started.id))


async def workflow_delivery_retried(record: Recorder) -> None:
    """Longer than the local activity's short try."""
    orchestrator = record.site.temporal_of_orchestrator
    orchestrator.inject("RespondActivityTaskCompleted", Fail(), times=None)
    run = await record.site.callers.run("{set: {answer: 42}}")
    await run.began()

    async def tried() -> bool:
        return bool(await events(run.execution, EventType.EVENT_TYPE_MARKER_RECORDED))

    await eventually(tried, what="a try that failed")
    orchestrator.clear()
    await record.execution("workflow-delivery-retried", run)


SCENARIOS = (
    Scenario(workflow_success, ("workflow execution",)),
    Scenario(workflow_failure, ("workflow execution failed",)),
    Scenario(workflow_refused, ("workflow execution refused",)),
    Scenario(workflow_timed_out, ("workflow execution timed out",)),
    Scenario(workflow_caller_watched, ("watch of a caller",)),
    Scenario(workflow_cancelled_by_its_caller, ("workflow execution cancelled",)),
    Scenario(workflow_cancelled_through_the_api, ("workflow execution cancelled",)),
    Scenario(workflow_run_terminated, ("workflow execution terminated",)),
    Scenario(workflow_registered, ("workflow execution without a caller", "document checked")),
    Scenario(workflow_delivery_retried, ("delivery retried",), alone=True),
)
