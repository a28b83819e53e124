"""The activities of MCP servers' tools where no server is configured.

The `mcp` package takes a second to import; a worker without servers starts without it.
"""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from ai_worker.mcp.failures import unknown_server
from stigma.contracts.activities import CALL_MCP_TOOL, LIST_MCP_TOOLS, McpActivities
from stigma.contracts.tool_results import MCP_CALL_NOT_SENT
from stigma.internal.v1.execution_pb2 import (
    CallMcpToolRequest,
    CallMcpToolResponse,
    ListMcpToolsRequest,
    ListMcpToolsResponse,
    McpListingProblem,
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
        text = f"There is {unknown_server(request.server)}."
        raise ApplicationError(text, type=MCP_CALL_NOT_SENT)
