"""Has MCP servers list the tools that agents name, through the AI worker that reaches them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

import structlog
from temporalio.client import Client, WorkflowFailureError

from stigma.agent.v1.agent_pb2 import AgentSpec, McpTool, McpToolDefinition
from stigma.contracts import limits, tools
from stigma.contracts.workflows import ListMcpToolsWorkflow
from stigma.internal.v1.execution_pb2 import ListMcpToolsRequest, ListMcpToolsResponse
from stigma_api import errors
from stigma_api.requests.violations import Violations
from stigma_api.temporal.calls import temporal_call

# Time for the servers, for the worker that asks them, and for Temporal's answer: within a call's.
_SERVERS_TIMEOUT = timedelta(seconds=10)
_TIMEOUT = timedelta(seconds=12)
_SLACK = timedelta(seconds=2)


class McpListing:
    """Lists tools by a workflow of the orchestrator."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._log = structlog.get_logger()

    async def list(self, agent: AgentSpec, at: str) -> Sequence[McpToolDefinition]:
        """Return the definitions of the tools of MCP servers that an agent may call.

        Args:
            agent: otherwise valid.
            at: its path.

        Raises:
            ApiError: INVALID_ARGUMENT, an unknown server, a tool that it does not offer, or a name
                that another tool has; UNAVAILABLE, a server did not answer within 10 s.
        """
        entries = {
            f"{at}.tools[{index}].mcp": tool.mcp
            for index, tool in enumerate(agent.tools)
            if tool.HasField("mcp")
        }
        if not entries:
            return []
        response = await self._run(list(entries.values()), next(iter(entries)))
        _raise_problems(list(entries), response)
        found = {(each.server, each.exposed_name): each for each in response.tools}
        definitions = list(found.values())
        _check(agent, f"{at}.tools", definitions)
        return definitions

    async def _run(self, entries: Sequence[McpTool], at: str) -> ListMcpToolsResponse:
        request = ListMcpToolsRequest(entries=entries)
        request.timeout.FromTimedelta(_SERVERS_TIMEOUT)
        async with temporal_call(_TIMEOUT + _SLACK):
            try:
                return await self._client.execute_workflow(
                    ListMcpToolsWorkflow.run,
                    request,
                    id=f"list-mcp-tools-{uuid.uuid4().hex}",
                    task_queue=self._task_queue,
                    execution_timeout=_TIMEOUT,
                )
            except WorkflowFailureError as error:
                self._log.warning("mcp_tools_not_listed", error=type(error.cause).__name__)
                within = f"within {_TIMEOUT.total_seconds():g} s"
                raise errors.unavailable(f"{at}: no AI worker listed the tools {within}") from None


def _raise_problems(places: Sequence[str], response: ListMcpToolsResponse) -> None:
    for problem in response.problems:
        if problem.unavailable:
            raise errors.unavailable(f"{places[problem.entry]}: {problem.message}")
    found = Violations()
    for problem in response.problems:
        found.add(places[problem.entry], problem.message)
    found.raise_if_any()


def _check(agent: AgentSpec, at: str, definitions: Sequence[McpToolDefinition]) -> None:
    """Check that no two tools have one name, and that they are not too many or too large."""
    found = Violations()
    reserved = tools.name_key(tools.OUTPUT_TOOL)
    seen = {reserved: tools.OUTPUT_TOOL}
    for index, tool in enumerate(agent.tools):
        names = [tool.name]
        if tool.HasField("mcp"):
            names = [each.exposed_name for each in definitions if tools.stands_for(tool.mcp, each)]
        for name in names:
            key = tools.name_key(name)
            taken = "reserved" if key == reserved else f"a tool already, {seen.get(key)}"
            problem = f"{name} is {taken}: give a prefix, or name the tools"
            found.require(key not in seen, f"{at}[{index}]", problem)
            seen.setdefault(key, name)
    count = len(seen) - 1
    found.require(count <= limits.MAX_TOOLS, at, f"{count} tools; at most {limits.MAX_TOOLS}")
    size = sum(each.ByteSize() for each in definitions)
    most = limits.MAX_MCP_DEFINITIONS_BYTES
    problem = f"the definitions of MCP servers' tools have {size} bytes; at most {most}"
    found.require(size <= most, at, problem)
    found.raise_if_any()
