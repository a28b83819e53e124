"""The activities of MCP servers' tools where no server is configured.

The `mcp` package takes a second to import; a worker without servers starts without it.
"""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from ai_worker.mcp.failures import unknown_server
from stigma.contracts.activities import (
    CALL_MCP_TOOL,
    CANCEL_MCP_TASK,
    LIST_MCP_TOOLS,
    POLL_MCP_TASK,
    RESUME_MCP_TOOL,
    McpActivities,
)
from stigma.contracts.tool_results import MCP_CALL_LOST, MCP_CALL_NOT_SENT
from stigma.internal.v1.execution_pb2 import (
    CallMcpToolRequest,
    CallMcpToolResponse,
    CancelMcpTaskRequest,
    ListMcpToolsRequest,
    ListMcpToolsResponse,
    McpListingProblem,
    PollMcpTaskRequest,
    ResumeMcpToolRequest,
)


class NoMcpServers(McpActivities):
    """Answers that there is no such server."""

    @override
    @activity.defn(name=LIST_MCP_TOOLS)
    async def list_mcp_tools(self, request: ListMcpToolsRequest) -> ListMcpToolsResponse:
        return ListMcpToolsResponse(
            problems=[
                McpListingProblem(entry=index, message=unknown_server(entry.server))
                for index, entry in enumerate(request.entries)
            ]
        )

    @override
    @activity.defn(name=CALL_MCP_TOOL)
    async def call_mcp_tool(self, request: CallMcpToolRequest) -> CallMcpToolResponse:
        raise _not_sent(request)

    @override
    @activity.defn(name=RESUME_MCP_TOOL)
    async def resume_mcp_tool(self, request: ResumeMcpToolRequest) -> CallMcpToolResponse:
        raise _not_sent(request.call)

    @override
    @activity.defn(name=POLL_MCP_TASK)
    async def poll_mcp_task(self, request: PollMcpTaskRequest) -> CallMcpToolResponse:
        raise _not_told(request.call)

    @override
    @activity.defn(name=CANCEL_MCP_TASK)
    async def cancel_mcp_task(self, request: CancelMcpTaskRequest) -> CallMcpToolResponse:
        raise _not_told(request.call)


def _not_sent(request: CallMcpToolRequest) -> ApplicationError:
    return ApplicationError(_absence(request), type=MCP_CALL_NOT_SENT)


def _not_told(request: CallMcpToolRequest) -> ApplicationError:
    return ApplicationError(_absence(request), type=MCP_CALL_LOST)


def _absence(request: CallMcpToolRequest) -> str:
    return f"There is {unknown_server(request.server)}."
