"""`WorkflowExecutionWorkflow`: one workflow execution, from the first bound token to the last
delivery.

It never continues as new: its history is short, since the engine's run has one of its own, and a
successor would have to find that run again. So it stays on the version that it began on.
"""

from __future__ import annotations

from datetime import UTC

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from google.protobuf.timestamp_pb2 import Timestamp

    from stigma.contracts import workflows
    from stigma.contracts.task_queues import TaskQueues
    from stigma.internal.v1.execution_pb2 import Bind, WorkflowExecutionInput
    from stigma.workflow.v1.workflow_execution_pb2 import (
        WorkflowExecution,
        WorkflowExecutionPhase,
        WorkflowOutput,
    )
    from stigma_orchestrator.executions.lifecycle import Handshake
    from stigma_orchestrator.workflows.engine_run import PATIENCE, EngineRun


@workflow.defn(name="WorkflowExecutionWorkflow")
class WorkflowExecutionWorkflow(workflows.WorkflowExecutionWorkflow):
    """Runs a document in the engine and delivers its outcome to whoever is bound."""

    @workflow.init
    def __init__(self, request: WorkflowExecutionInput) -> None:
        info = workflow.info()
        self._request = request
        queues = TaskQueues.from_orchestrator(info.task_queue)
        self._engine = EngineRun(request, request.deadline.ToDatetime(UTC), queues)
        started = Timestamp()
        started.FromDatetime(info.workflow_start_time)
        self._handshake: Handshake[WorkflowExecution, WorkflowOutput] = Handshake(
            request, self._snapshot, start_time=started, patience=PATIENCE
        )

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity. One that does not belong here is ignored."""
        self._handshake.bind(bind)

    @workflow.query(name="execution")
    def execution(self, with_request: bool = True) -> WorkflowExecution:
        """Return the execution as it stands, with all that was asked for if `with_request`."""
        execution = self._snapshot()
        if with_request:
            execution.spec.CopyFrom(self._request.spec)
        return execution

    @workflow.run
    async def run(self, request: WorkflowExecutionInput) -> WorkflowExecution:  # noqa: ARG002 - as in __init__
        """Run the document, deliver its outcome, and return it."""
        await self._handshake.see_through(self._engine.outcome())
        return self._handshake.close()

    def _snapshot(self) -> WorkflowExecution:
        """The execution as it stands, without the document and its input."""
        execution = WorkflowExecution()
        execution.spec.workflow_id = self._request.spec.workflow_id
        status = execution.status
        status.phase = WorkflowExecutionPhase.ValueType(self._handshake.phase)
        if status.phase == WorkflowExecutionPhase.WORKFLOW_EXECUTION_PHASE_FAILED:
            # A run that was told to stop may fail too, but that is not why.
            status.error_json = self._engine.error_json
        if self._engine.run is not None:
            status.run.CopyFrom(self._engine.run)
        self._handshake.describe(execution)
        return execution
