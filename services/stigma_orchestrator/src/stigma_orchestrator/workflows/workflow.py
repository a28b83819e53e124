"""`WorkflowExecutionWorkflow`: one workflow execution, from bound token to delivery.

It never continues as new: its history is short, since the engine's run has one of its own, and a
successor would have to find that run again. So it stays on the version that it began on.
"""

from __future__ import annotations

from temporalio import workflow
from typing_extensions import override

with workflow.unsafe.imports_passed_through():
    from stigma.contracts import workflows
    from stigma.contracts.task_queues import TaskQueues
    from stigma.internal.v1.execution_pb2 import Bind, WorkflowExecutionInput
    from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
    from stigma_orchestrator.executions.deadline import settle_deadline
    from stigma_orchestrator.executions.lifecycle import ExecutionLifecycle
    from stigma_orchestrator.workflows.engine_run import STOP_GRACE, EngineRun


@workflow.defn(name="WorkflowExecutionWorkflow")
class WorkflowExecutionWorkflow(workflows.WorkflowExecutionWorkflow):
    """Runs a document in the engine and delivers its outcome to all bound activities."""

    @workflow.init
    def __init__(self, request: WorkflowExecutionInput) -> None:
        settle_deadline(request)
        self._request = request
        queues = TaskQueues.from_orchestrator(workflow.info().task_queue)
        self._lifecycle = ExecutionLifecycle(
            EngineRun(request, queues), request, WorkflowExecution, stop_grace=lambda: STOP_GRACE
        )

    @override
    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        self._lifecycle.bind(bind)

    @override
    @workflow.query(name="execution")
    def execution(self, with_request: bool = True) -> WorkflowExecution:
        execution = self._lifecycle.snapshot()
        if with_request:
            execution.spec.CopyFrom(self._request.spec)
        return execution

    @override
    @workflow.run
    async def run(self, request: WorkflowExecutionInput) -> WorkflowExecution:
        await self._lifecycle.run_to_delivery()
        return self._lifecycle.result_or_raise()
