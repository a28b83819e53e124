"""`WorkflowService`: the registry of workflows over gRPC."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma.workflow.v1.workflow_service_pb2 import (
    ApplyWorkflowRequest,
    DeleteWorkflowRequest,
    GetWorkflowRequest,
    ListWorkflowsRequest,
    ListWorkflowsResponse,
)
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceServicer
from stigma_api.definitions.service import Definitions
from stigma_api.grpc_api.interceptor import Context


class Workflows(WorkflowServiceServicer):
    """Serves `WorkflowService`."""

    def __init__(self, definitions: Definitions[Workflow]) -> None:
        self._definitions = definitions

    async def ApplyWorkflow(self, request: ApplyWorkflowRequest, _context: Context) -> Workflow:  # noqa: N802
        """Register a workflow, or a new version of it."""
        return await self._definitions.apply(request.workflow, validate_only=request.validate_only)

    async def GetWorkflow(self, request: GetWorkflowRequest, _context: Context) -> Workflow:  # noqa: N802
        """Return one version."""
        return await self._definitions.get(request.id)

    async def ListWorkflows(  # noqa: N802
        self, request: ListWorkflowsRequest, _context: Context
    ) -> ListWorkflowsResponse:
        """Return a page of workflows, as far as they are within the principal's reach."""
        page, token = await self._definitions.page(request.page_size, request.page_token)
        return ListWorkflowsResponse(workflows=page, next_page_token=token)

    async def DeleteWorkflow(self, request: DeleteWorkflowRequest, _context: Context) -> Empty:  # noqa: N802
        """Delete all versions of a workflow."""
        await self._definitions.delete(request.name)
        return Empty()
