"""`AgentService`: the registry over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

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
from stigma_api.principals import Action, Principal
from stigma_api.registry import Registry, content_digest

# Names alone are short: agents out of reach cost little, however many they are.
_NAMES_AT_A_TIME = 1000
_AGENTS_AT_A_TIME = 20
# gRPC's clients take 4 MiB, where nobody sets more.
_MAX_PAGE_BYTES = 3 * 1024 * 1024


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
        """Return a page of agents, as far as they are within the principal's reach.

        It need not be full: it must fit into one message of any client.
        """
        principal = caller()
        principal.require(Action.AGENTS_READ)
        size = validation.page_size(request.page_size)
        after = validation.agents_page(request.page_token)
        names = await self._visible(principal, after, size + 1)
        reply, content = ListAgentsResponse(), 0
        async for agent in self._newest(names[:size]):
            content += agent.ByteSize()
            if reply.agents and content > _MAX_PAGE_BYTES:
                reply.next_page_token = reply.agents[-1].name
                return reply
            reply.agents.append(agent)
        if len(names) > size:
            # The last name shown: a token tells nothing of agents out of reach.
            reply.next_page_token = names[size - 1]
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

    async def _visible(self, principal: Principal, after: str, size: int) -> list[str]:
        """Return up to `size` names after one, as far as they are within reach."""
        found: list[str] = []
        while len(found) < size:
            names = await self._registry.names(after, _NAMES_AT_A_TIME)
            found += [name for name in names if principal.may_use_agent(name)]
            if len(names) < _NAMES_AT_A_TIME:
                break
            after = names[-1]
        return found[:size]

    async def _newest(self, names: Sequence[str]) -> AsyncIterator[Agent]:
        for first in range(0, len(names), _AGENTS_AT_A_TIME):
            for agent in await self._registry.newest(names[first : first + _AGENTS_AT_A_TIME]):
                yield agent
