"""Agents that the tools of agents call: found at the start of an execution, checked at Apply."""

from __future__ import annotations

from collections.abc import Mapping

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.contracts import limits, tools
from stigma.contracts.executions import Kind
from stigma.internal.v1.execution_pb2 import Lineage, SubAgent
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.definitions.registry import Registry
from stigma_api.definitions.tool_access import ToolAccess
from stigma_api.requests import validation
from stigma_api.requests.violations import Violations


class SubAgentAccess:
    """Finds registered agents by what tools name.

    Args:
        agents: that are registered.
        tools: checks the tools of those that are found.
        tree: how deep, and how many, agents below an execution may be.
    """

    def __init__(self, agents: Registry[Agent], tools: ToolAccess, tree: Lineage) -> None:
        self.tree = tree
        self._agents = agents
        self._tools = tools

    async def check_applied(self, principal: Principal, agent: Agent, found: Violations) -> None:
        """Check the tools of an agent to be registered, and the agents that they name.

        Args:
            principal: who applies it, and may use these agents.
            agent: valid, but for the violations.
            found: violations of the rules; those of the tools are added.

        Raises:
            ApiError: as `ToolAccess.check_applied`; FAILED_PRECONDITION, an agent is not
                registered; INVALID_ARGUMENT, they are too many or too large.
        """
        await self._tools.check_applied(principal, agent, found)
        if found:
            return
        for named in tools.agents_called(agent.spec):
            name = named.partition("@")[0]
            principal.require_use(Kind.AGENT, name)
            if name != agent.name and await self._get(named) is None:
                message = f"agent {named} of a tool is not registered"
                raise errors.failed_precondition("TOOL_AGENT_NOT_FOUND", message)

    async def resolve(self, agent: AgentSpec, author: Principal | None) -> Mapping[str, SubAgent]:
        """Return the agents that an agent's tools lead to, by what the tools name.

        Args:
            agent: of an execution to be started.
            author: who wrote the agent, if that is who starts it; others may use agents through it
                that they may not use themselves.

        Raises:
            ApiError: PERMISSION_DENIED; NOT_FOUND, an agent; INVALID_ARGUMENT, they are too many
                or too large.
        """
        found: dict[str, SubAgent] = {}
        pending = list(tools.agents_called(agent))
        if author is not None:
            for named in pending:
                author.require_use(Kind.AGENT, named.partition("@")[0])
        size = 0
        while pending:
            named = pending.pop()
            if named in found:
                continue
            called = await self._get(named)
            if called is None:
                raise errors.not_found(f"agent {named} of a tool")
            at = f"agent {named}"
            workflows = await self._tools.resolve(called.spec, at, None)
            found[named] = SubAgent(agent=called, tool_workflows=workflows)
            size += found[named].ByteSize()
            if len(found) > limits.MAX_SUB_AGENT_NAMES or size > limits.MAX_SUB_AGENTS_BYTES:
                problem = (
                    "the agents that its tools lead to are more than "
                    f"{limits.MAX_SUB_AGENT_NAMES}, or have more than "
                    f"{limits.MAX_SUB_AGENTS_BYTES} bytes"
                )
                raise errors.invalid_argument([("agent.spec.tools", problem)])
            pending += tools.agents_called(called.spec)
        return found

    async def _get(self, named: str) -> Agent | None:
        return await self._agents.get(*validation.name_and_version("agent", named))
