"""`AgentService` and `WorkflowService`: one code, under each stub's names."""

# ruff: noqa: ARG002 - the stubs prescribe the signatures
from __future__ import annotations

from typing import Any, Generic

from google.protobuf.empty_pb2 import Empty

from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import ListAgentsResponse
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceServicer
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma.workflow.v1.workflow_service_pb2 import ListWorkflowsResponse
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceServicer
from stigma_api.definitions.service import DefinitionService
from stigma_api.grpc_api.interceptor import Context, caller
from stigma_api.kinds import D


class _DefinitionServicer(Generic[D]):
    """Serves the definitions of one kind."""

    kind: Kind
    list_response: Any

    def __init__(self, service: DefinitionService[D]) -> None:
        self._service: DefinitionService[D] = service

    async def apply(self, request: Any, context: Context) -> D:
        definition = getattr(request, self.kind)
        return await self._service.apply(caller(), definition, validate_only=request.validate_only)

    async def get(self, request: Any, context: Context) -> D:
        return await self._service.get(caller(), request.id)

    async def list(self, request: Any, context: Context) -> Any:
        page, token = await self._service.page(
            caller(), size=request.page_size, token=request.page_token
        )
        return self.list_response(**{f"{self.kind}s": page}, next_page_token=token)

    async def delete(self, request: Any, context: Context) -> Empty:
        await self._service.delete(caller(), request.name)
        return Empty()


class AgentServicer(_DefinitionServicer[Agent], AgentServiceServicer):
    """Serves `AgentService`."""

    kind, list_response = Kind.AGENT, ListAgentsResponse
    ApplyAgent = _DefinitionServicer.apply
    GetAgent = _DefinitionServicer.get
    ListAgents = _DefinitionServicer.list
    DeleteAgent = _DefinitionServicer.delete


class WorkflowServicer(_DefinitionServicer[Workflow], WorkflowServiceServicer):
    """Serves `WorkflowService`."""

    kind, list_response = Kind.WORKFLOW, ListWorkflowsResponse
    ApplyWorkflow = _DefinitionServicer.apply
    GetWorkflow = _DefinitionServicer.get
    ListWorkflows = _DefinitionServicer.list
    DeleteWorkflow = _DefinitionServicer.delete
