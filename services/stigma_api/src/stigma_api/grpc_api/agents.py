"""`AgentService`: the registry of agents over gRPC."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import (
    ApplyAgentRequest,
    DeleteAgentRequest,
    GetAgentRequest,
    ListAgentsRequest,
    ListAgentsResponse,
)
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceServicer
from stigma_api.definitions.service import Definitions
from stigma_api.grpc_api.interceptor import Context


class Agents(AgentServiceServicer):
    """Serves `AgentService`."""

    def __init__(self, definitions: Definitions[Agent]) -> None:
        self._definitions = definitions

    async def ApplyAgent(self, request: ApplyAgentRequest, _context: Context) -> Agent:  # noqa: N802
        """Register an agent, or a new version of it."""
        return await self._definitions.apply(request.agent, validate_only=request.validate_only)

    async def GetAgent(self, request: GetAgentRequest, _context: Context) -> Agent:  # noqa: N802
        """Return one version."""
        return await self._definitions.get(request.id)

    async def ListAgents(self, request: ListAgentsRequest, _context: Context) -> ListAgentsResponse:  # noqa: N802
        """Return a page of agents, as far as they are within the principal's reach."""
        page, token = await self._definitions.page(request.page_size, request.page_token)
        return ListAgentsResponse(agents=page, next_page_token=token)

    async def DeleteAgent(self, request: DeleteAgentRequest, _context: Context) -> Empty:  # noqa: N802
        """Delete all versions of an agent."""
        await self._definitions.delete(request.name)
        return Empty()
