"""The check that MCP servers still list an agent's tools as they did when it was applied."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from stigma.agent.v1.agent_pb2 import FailureReason, McpTool, McpToolDefinition
from stigma.contracts import limits, tools
from stigma.contracts.activities import McpActivities
from stigma.internal.v1.execution_pb2 import ListMcpToolsRequest, ListMcpToolsResponse
from stigma_orchestrator.agents.step import AgentFailedError, StepContext

_NAME = "list_mcp_tools"
_MARGIN = timedelta(seconds=15)
_MAX_NAMED = 5


@dataclass(frozen=True)
class McpListingCheck:
    """One check, before the first call of the model."""

    context: StepContext
    definitions: Sequence[McpToolDefinition]
    """As listed when the version was applied."""

    async def run(self) -> None:
        """List the tools again, and compare their digests. Further tools of a server do not count.

        Raises:
            AgentFailedError: a server was away for too long, or lists a tool differently.
        """
        if not self.definitions:
            message = "the start has no tools of MCP servers: an older API made it"
            raise self._failed(FailureReason.FAILURE_REASON_TOOL_UNAVAILABLE, message)
        response = await self._list()
        if response.problems:
            problem = response.problems[0].message
            raise self._failed(FailureReason.FAILURE_REASON_TOOL_UNAVAILABLE, problem)
        listed = {(each.server, each.name): each.digest for each in response.tools}
        changed = sorted(
            f"{each.server}/{each.name}"
            for each in self.definitions
            if listed.get((each.server, each.name)) != each.digest
        )
        if changed:
            more = f" and {len(changed) - _MAX_NAMED} more" if len(changed) > _MAX_NAMED else ""
            raise self._failed(
                FailureReason.FAILURE_REASON_TOOL_CHANGED,
                f"listed differently from when the agent was applied: "
                f"{', '.join(changed[:_MAX_NAMED])}{more}. Apply the agent again",
            )

    async def _list(self) -> ListMcpToolsResponse:
        names: dict[str, list[str]] = {}
        for each in self.definitions:
            names.setdefault(each.server, []).append(each.name)
        request = ListMcpToolsRequest(
            entries=[McpTool(server=server, tools=names[server]) for server in sorted(names)],
            digests_only=True,
        )
        request.timeout.FromTimedelta(limits.MCP_AWAY_TIMEOUT)
        try:
            # A worker that is lost is replaced, as with calls of a model: listing has no effects.
            return await workflow.execute_activity_method(
                McpActivities.list_mcp_tools,
                request,
                activity_id=tools.LIST_MCP_TOOLS_ID,
                task_queue=self.context.queues.ai,
                start_to_close_timeout=limits.MCP_AWAY_TIMEOUT + _MARGIN,
                heartbeat_timeout=limits.MODEL_CALL_HEARTBEAT_TIMEOUT,
                retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=10)),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise self._failed(
                FailureReason.FAILURE_REASON_TOOL_UNAVAILABLE, "the AI worker listed no tools"
            ) from error

    def _failed(self, reason: FailureReason.ValueType, message: str) -> AgentFailedError:
        return AgentFailedError(reason, message, step=_NAME)
