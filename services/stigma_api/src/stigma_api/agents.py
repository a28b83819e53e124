"""`AgentService`: the registry over gRPC."""

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
from stigma_api import status, validation
from stigma_api.calls import Context, caller
from stigma_api.principals import Action
from stigma_api.registry import Registry, content_digest


class Agents(AgentServiceServicer):
    """Serves `AgentService`; who calls was found out before."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ApplyAgent(self, request: ApplyAgentRequest, _context: Context) -> Agent:  # noqa: N802
        """Register an agent, or a new version of it."""
        principal = caller()
        principal.require(Action.AGENTS_APPLY)
        agent = request.agent
        validation.agent(agent)
        principal.require_agent(agent.name)
        if request.validate_only:
            return Agent(
                name=agent.name,
                spec=agent.spec,
                labels=agent.labels,
                digest=content_digest(agent.spec, agent.labels),
            )
        return await self._registry.apply(agent.name, agent.spec, agent.labels, principal.name)

    async def GetAgent(self, request: GetAgentRequest, _context: Context) -> Agent:  # noqa: N802
        """Return one version."""
        principal = caller()
        principal.require(Action.AGENTS_READ)
        name, version = validation.agent_id("id", request.id)
        principal.require_agent(name)
        agent = await self._registry.get(name, version)
        if agent is None:
            raise status.not_found(f"agent {request.id}")
        return agent

    async def ListAgents(self, request: ListAgentsRequest, _context: Context) -> ListAgentsResponse:  # noqa: N802
        """Return a page of agents, as far as they are within the principal's reach."""
        principal = caller()
        principal.require(Action.AGENTS_READ)
        size = validation.page_size(request.page_size)
        # The token is the last name of the page before: names are public to who may list them.
        page = await self._registry.list(after=request.page_token, size=size)
        reply = ListAgentsResponse(agents=[a for a in page if principal.may_use_agent(a.name)])
        if len(page) == size:
            reply.next_page_token = page[-1].name
        return reply

    async def DeleteAgent(self, request: DeleteAgentRequest, _context: Context) -> Empty:  # noqa: N802
        """Delete all versions of an agent."""
        principal = caller()
        principal.require(Action.AGENTS_DELETE)
        name, version = validation.agent_id("name", request.name)
        if version is not None:
            raise status.invalid([("name", "versions are not deleted one by one: give the name")])
        principal.require_agent(name)
        if not await self._registry.delete(name):
            raise status.not_found(f"agent {name}")
        return Empty()
