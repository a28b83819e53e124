"""Tells the events of a workflow's execution: the engine's run, beside what all executions have."""

from __future__ import annotations

from temporalio.api.history.v1 import HistoryEvent

from stigma.workflow.v1.workflow_execution_pb2 import EngineRun, WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    EngineRunStarted,
    WatchWorkflowExecutionResponse,
    WorkflowExecutionStarted,
)
from stigma_api.executions import outcome
from stigma_api.executions.watch_events import Narrator

Told = WatchWorkflowExecutionResponse


class WorkflowNarrator(Narrator[WatchWorkflowExecutionResponse]):
    """Tells the events of one run of a workflow execution."""

    response = WatchWorkflowExecutionResponse

    async def started(self, event: HistoryEvent) -> Told | None:
        """Tell the start of an execution."""
        fields = event.workflow_execution_started_event_attributes.memo.fields
        execution = await outcome.from_memo(self._client, fields, WorkflowExecution)
        return Told(started=WorkflowExecutionStarted(execution=execution))

    async def worked(self, event: HistoryEvent) -> Told | None:
        """Tell that the engine's run, the execution's one child, has begun."""
        if not event.HasField("child_workflow_execution_started_event_attributes"):
            return None
        child = event.child_workflow_execution_started_event_attributes.workflow_execution
        run = EngineRun(workflow_id=child.workflow_id, run_id=child.run_id)
        return Told(run_started=EngineRunStarted(run=run))
