"""What agents and their tools may reach: queues, Nexus endpoints, workflows, MCP servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, McpToolDefinition
from stigma.contracts.executions import Kind
from stigma.contracts.globs import matches_any
from stigma.contracts.task_queues import TaskQueues
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.definitions.document_check import REFUSED_TIMEOUT, TIMEOUT
from stigma_api.definitions.mcp_listing import McpListing
from stigma_api.definitions.nexus_endpoints import NexusEndpoints
from stigma_api.definitions.registry import Registry
from stigma_api.definitions.rule_check import RuleChecker
from stigma_api.requests import validation
from stigma_api.requests.violations import Violations

# Task queues of Temporal's own workers.
_TEMPORALS = ("temporal-sys-", "/_sys/")


class ToolPlaces:
    """The operator's allow-list of task queues and Nexus endpoints.

    Args:
        task_queues: globs.
        nexus_endpoints: globs.
        own: Stigma's own queues, which no glob allows: their workers trust what they are sent.
    """

    def __init__(
        self, task_queues: Sequence[str], nexus_endpoints: Sequence[str], own: TaskQueues
    ) -> None:
        self._task_queues = task_queues
        self._nexus_endpoints = nexus_endpoints
        self._own = frozenset((own.engine, own.orchestrator, own.watch, own.ai))

    def check(self, at: str, agent: AgentSpec) -> None:
        """Check that every tool, or the workflow that is the agent, is within the list.

        Args:
            at: path of the agent.
            agent: otherwise valid.

        Raises:
            ApiError: INVALID_ARGUMENT, with the path of each queue and endpoint that is not.
        """
        found = Violations()
        if agent.HasField("runtime"):
            self._queue(found, f"{at}.runtime.task_queue", agent.runtime.task_queue)
        for index, tool in enumerate(agent.tools):
            here = f"{at}.tools[{index}]"
            match tool.WhichOneof("kind"):
                case "activity":
                    self._queue(found, f"{here}.activity.task_queue", tool.activity.task_queue)
                case "workflow" if not tool.workflow.name:
                    self._queue(found, f"{here}.workflow.task_queue", tool.workflow.task_queue)
                case "nexus":
                    allowed = matches_any(tool.nexus.endpoint, self._nexus_endpoints)
                    problem = "the operator allows tools no such endpoint"
                    found.require(allowed, f"{here}.nexus.endpoint", problem)
        found.raise_if_any()

    def _queue(self, found: Violations, at: str, queue: str) -> None:
        if queue in self._own or queue.startswith(_TEMPORALS):
            found.add(at, "is a task queue of Stigma or Temporal itself")
        else:
            allowed = matches_any(queue, self._task_queues)
            found.require(allowed, at, "the operator allows tools no such task queue")


class ToolAccess:
    """Checks the tools of agents, and finds the registered workflows that they name."""

    def __init__(
        self,
        places: ToolPlaces,
        workflows: Registry[Workflow],
        endpoints: NexusEndpoints,
        mcp_listing: McpListing,
        rules: RuleChecker,
    ) -> None:
        self._places = places
        self._endpoints = endpoints
        self._workflows = workflows
        self._mcp_listing = mcp_listing
        self._rules = rules

    async def check_applied(self, principal: Principal, agent: Agent, found: Violations) -> None:
        """Check the tools of an agent to be registered, and add those that MCP servers list.

        Args:
            principal: who applies it, and may use its workflows.
            agent: valid, but for the violations.
            found: violations of the rules; those of the tools are added.

        Raises:
            ApiError: INVALID_ARGUMENT, PERMISSION_DENIED; FAILED_PRECONDITION, a workflow is
                not registered, or a Nexus endpoint does not exist; UNAVAILABLE, an MCP server
                does not answer.
        """
        del agent.mcp_tools[:]
        if not found.has("agent.spec.tools"):
            with found.collecting():
                self._places.check("agent.spec", agent.spec)
        if not found:
            await self._check_named(principal, agent.spec)
        with found.collecting():
            timeout = REFUSED_TIMEOUT if found else TIMEOUT
            await self._rules.check(agent.spec, "agent.spec", timeout, found)
        if not found:
            agent.mcp_tools.extend(await self.list_mcp_tools(agent.spec, "agent.spec"))

    async def _check_named(self, principal: Principal, agent: AgentSpec) -> None:
        """Check what tools name elsewhere: endpoints and workflows."""
        _require_use(principal, agent)
        await self._endpoints.check(agent.tools)
        async for tool, named, workflow in self._find(agent):
            if workflow is None:
                message = f"workflow {named} of tool {tool} is not registered"
                raise errors.failed_precondition("TOOL_WORKFLOW_NOT_FOUND", message)

    async def list_mcp_tools(self, agent: AgentSpec, at: str) -> Sequence[McpToolDefinition]:
        """Return the tools of MCP servers that an agent names, as their servers list them.

        Args:
            agent: otherwise valid.
            at: its path.

        Raises:
            ApiError: INVALID_ARGUMENT; UNAVAILABLE, a server does not answer.
        """
        return await self._mcp_listing.list(agent, at)

    async def resolve(
        self, agent: AgentSpec, at: str, author: Principal | None
    ) -> Mapping[str, Workflow]:
        """Return the registered workflows that an agent's tools run, by the tools' names.

        Args:
            agent: of an execution to be started.
            at: path of the agent.
            author: who wrote the agent, if that is who starts it; others may use workflows
                through it that they may not use themselves.

        Raises:
            ApiError: INVALID_ARGUMENT, PERMISSION_DENIED; NOT_FOUND, a workflow;
                FAILED_PRECONDITION, a Nexus endpoint does not exist.
        """
        self._places.check(at, agent)
        if author is not None:
            _require_use(author, agent)
            await self._rules.check(agent, at)
        await self._endpoints.check(agent.tools)
        resolved = {}
        async for tool, named, workflow in self._find(agent):
            if workflow is None:
                raise errors.not_found(f"workflow {named} of tool {tool}")
            resolved[tool] = Workflow(
                name=workflow.name, version=workflow.version, spec=workflow.spec
            )
        return resolved

    async def _find(self, agent: AgentSpec) -> AsyncIterator[tuple[str, str, Workflow | None]]:
        """Yield each tool with the id and the workflow that it names; None for an absent one."""
        found: dict[str, Workflow | None] = {}
        for tool, named in _workflow_ids(agent):
            if named not in found:
                name, version = validation.name_and_version("name", named)
                found[named] = await self._workflows.get(name, version)
            yield tool, named, found[named]


def _require_use(principal: Principal, agent: AgentSpec) -> None:
    for _, named in _workflow_ids(agent):
        principal.require_use(Kind.WORKFLOW, named.partition("@")[0])


def _workflow_ids(agent: AgentSpec) -> Iterator[tuple[str, str]]:
    """Yield the tools that name a registered workflow, each with "name" or "name@version"."""
    for tool in agent.tools:
        if tool.HasField("workflow") and tool.workflow.name:
            yield tool.name, tool.workflow.name
