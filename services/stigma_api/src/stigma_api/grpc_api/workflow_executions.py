"""`WorkflowExecutionService`: starts workflows and follows their executions."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    WORKFLOW_EXECUTION_VIEW_FULL,
    CancelWorkflowExecutionRequest,
    GetWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    StartWorkflowRequest,
    WatchWorkflowExecutionRequest,
    WatchWorkflowExecutionResponse,
)
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceServicer
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api.executions.service import Executions
from stigma_api.grpc_api.interceptor import Context


class WorkflowExecutions(WorkflowExecutionServiceServicer):
    """Serves `WorkflowExecutionService`."""

    def __init__(
        self, executions: Executions[Workflow, WorkflowExecution, WatchWorkflowExecutionResponse]
    ) -> None:
        self._executions = executions

    async def StartWorkflow(  # noqa: N802
        self, request: StartWorkflowRequest, _context: Context
    ) -> WorkflowExecution:
        """Start a workflow, or return the execution that the same request has started before."""
        return await self._executions.start(request)

    async def GetWorkflowExecution(  # noqa: N802
        self, request: GetWorkflowExecutionRequest, _context: Context
    ) -> WorkflowExecution:
        """Return one execution."""
        return await self._executions.get(
            request.id, full=request.view == WORKFLOW_EXECUTION_VIEW_FULL
        )

    async def ListWorkflowExecutions(  # noqa: N802
        self, request: ListWorkflowExecutionsRequest, _context: Context
    ) -> ListWorkflowExecutionsResponse:
        """Return a page of executions."""
        page, token = await self._executions.page(request)
        return ListWorkflowExecutionsResponse(executions=page, next_page_token=token)

    async def WatchWorkflowExecution(  # noqa: N802
        self, request: WatchWorkflowExecutionRequest, _context: Context
    ) -> AsyncIterator[WatchWorkflowExecutionResponse]:
        """Stream what happens to one execution."""
        async for event in self._executions.watch(request.id, request.cursor):
            yield event

    async def CancelWorkflowExecution(  # noqa: N802
        self, request: CancelWorkflowExecutionRequest, _context: Context
    ) -> WorkflowExecution:
        """Ask an execution to stop."""
        return await self._executions.cancel(request)
