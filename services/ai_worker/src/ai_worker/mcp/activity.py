"""The activities that list and call tools of MCP servers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from ai_worker.calls.heartbeats import heartbeats
from ai_worker.mcp.failures import AnsweredError, LostError, NotSentError, unknown_server
from ai_worker.mcp.listing import list_entries
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.results import read_error, read_result
from ai_worker.mcp.servers import Servers
from stigma.agent.v1.agent_execution_pb2 import ToolOutcome
from stigma.contracts import json_text, tool_results
from stigma.contracts.activities import CALL_MCP_TOOL, LIST_MCP_TOOLS, McpActivities
from stigma.internal.v1.execution_pb2 import (
    CallMcpToolRequest,
    CallMcpToolResponse,
    ListMcpToolsRequest,
    ListMcpToolsResponse,
)

CALL_META = "stigma.dev/call"
"""Whose a call is, in its `_meta`: the header "stigma-call" of other tools, as an object."""
KEY_META = "stigma.dev/idempotency-key"
"""The call's idempotency key, in its `_meta`."""


class McpCalls(McpActivities):
    """Lists and calls tools of the operator's servers."""

    def __init__(self, servers: Servers, metrics: McpMetrics) -> None:
        self._servers = servers
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    @override
    @activity.defn(name=LIST_MCP_TOOLS)
    async def list_mcp_tools(self, request: ListMcpToolsRequest) -> ListMcpToolsResponse:
        async with heartbeats():
            servers = [self._servers.find(entry.server) for entry in request.entries]
            response = await list_entries(servers, request)
        self._logger.info(
            "mcp_tools_listed",
            servers=sorted({entry.server for entry in request.entries}),
            tools=len(response.tools),
            problems=[problem.message for problem in response.problems],
        )
        return response

    @override
    @activity.defn(name=CALL_MCP_TOOL)
    async def call_mcp_tool(self, request: CallMcpToolRequest) -> CallMcpToolResponse:
        started = time.monotonic()
        outcome = "CANCELLED"
        try:
            async with heartbeats():
                response = await self._call(request)
            outcome = ToolOutcome.Name(response.outcome).removeprefix("TOOL_OUTCOME_")
        except NotSentError as error:
            # Of an attempt before nothing is known here: it may have been sent.
            is_first = activity.info().attempt == 1
            outcome = "NOT_RUN" if is_first else "UNKNOWN"
            kind = tool_results.MCP_CALL_NOT_SENT if is_first else tool_results.MCP_CALL_LOST
            raise ApplicationError(str(error), type=kind) from None
        except LostError as error:
            outcome = "UNKNOWN"
            raise ApplicationError(str(error), type=tool_results.MCP_CALL_LOST) from None
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - none may say more than its class
            # A bug of ours; whether the call was sent is not known. The text may quote content.
            outcome = "UNKNOWN"
            text = f"The call ended by {type(error).__name__}."
            raise ApplicationError(text, type=tool_results.MCP_CALL_LOST) from None
        else:
            return response
        finally:
            self._ended(request, outcome, time.monotonic() - started)

    async def _call(self, request: CallMcpToolRequest) -> CallMcpToolResponse:
        server = self._servers.find(request.server)
        if server is None:
            raise NotSentError(f"There is {unknown_server(request.server)}.")
        if not server.resource.offers(request.tool):
            raise NotSentError(f"MCP server {request.server!r} offers no such tool.")
        try:
            result = await server.call(
                request.tool,
                json_text.parse(request.arguments_json),
                _meta(request.call_json),
                request.start_timeout.ToTimedelta().total_seconds(),
            )
        except AnsweredError as error:
            return read_error(str(error), request.max_result_bytes)
        return read_result(result, request.max_result_bytes)

    def _ended(self, request: CallMcpToolRequest, outcome: str, seconds: float) -> None:
        known = self._servers.find(request.server) is not None
        self._metrics.ended(request.server if known else "unknown", outcome, seconds)
        self._logger.info(
            "mcp_call_ended",
            execution_id=request.execution_id,
            call_id=request.call_id,
            server=request.server,
            tool=request.tool,
            outcome=outcome,
            duration_seconds=round(seconds, 6),
        )


def _meta(call_json: str) -> dict[str, Any]:
    call = json_text.parse(call_json) if call_json else {}
    return {CALL_META: call, KEY_META: call.get("idempotency_key", "")}
