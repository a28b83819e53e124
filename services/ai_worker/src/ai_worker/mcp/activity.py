"""The activities that list and call tools of MCP servers, and follow their tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import mcp_types
import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from ai_worker.calls.heartbeats import heartbeats
from ai_worker.mcp.failures import (
    AnsweredError,
    LostError,
    NotSentError,
    StateRefusedError,
    unknown_server,
)
from ai_worker.mcp.listing import list_entries
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.questions import QuestionError, read_questions, responses_to
from ai_worker.mcp.results import read_error, read_result
from ai_worker.mcp.server import Server
from ai_worker.mcp.servers import Servers
from ai_worker.mcp.tasks import TASK, forgotten_task, lost_task, read_task
from ai_worker.mcp.tool_session import ToolRequest
from stigma.agent.v1.agent_execution_pb2 import ToolOutcome
from stigma.contracts import json_text, limits, tool_results
from stigma.contracts.activities import (
    CALL_MCP_TOOL,
    CANCEL_MCP_TASK,
    LIST_MCP_TOOLS,
    POLL_MCP_TASK,
    RESUME_MCP_TOOL,
    McpActivities,
)
from stigma.internal.v1.execution_pb2 import (
    CallMcpToolRequest,
    CallMcpToolResponse,
    CancelMcpTaskRequest,
    ListMcpToolsRequest,
    ListMcpToolsResponse,
    PollMcpTaskRequest,
    ResumeMcpToolRequest,
)

CALL_META = "stigma.dev/call"
"""Whose a call is, in its `_meta`: the header "stigma-call" of other tools, as an object."""
KEY_META = "stigma.dev/idempotency-key"
"""The call's idempotency key, in its `_meta`."""

_ASKS = "input_required"
# Time in which a server may still tell the result of a task that is to be cancelled.
_LAST_STATE_SECONDS = 3.0
_TOO_OFTEN = (
    "The tool asks for input, and may ask no more: within a call, people are asked at most "
    f"{limits.MAX_MCP_ROUNDS} times."
)


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
        return await self._observed(request, self._call(request, _tool_request(request)))

    @override
    @activity.defn(name=RESUME_MCP_TOOL)
    async def resume_mcp_tool(self, request: ResumeMcpToolRequest) -> CallMcpToolResponse:
        return await self._observed(request.call, self._resume(request))

    @override
    @activity.defn(name=POLL_MCP_TASK)
    async def poll_mcp_task(self, request: PollMcpTaskRequest) -> CallMcpToolResponse:
        return await self._observed(request.call, self._poll(request))

    @override
    @activity.defn(name=CANCEL_MCP_TASK)
    async def cancel_mcp_task(self, request: CancelMcpTaskRequest) -> CallMcpToolResponse:
        return await self._observed(request.call, self._cancel(request))

    async def _observed(
        self, request: CallMcpToolRequest, answering: Awaitable[CallMcpToolResponse]
    ) -> CallMcpToolResponse:
        """Return an answer, or raise what the workflow is told of its failure; log and count it."""
        started = time.monotonic()
        outcome = "CANCELLED"
        try:
            async with heartbeats():
                response = await answering
            outcome = _outcome(response)
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

    async def _call(self, request: CallMcpToolRequest, sent: ToolRequest) -> CallMcpToolResponse:
        server = self._server(request)
        try:
            result = await server.call(sent, request.start_timeout.ToTimedelta().total_seconds())
        except StateRefusedError as error:
            if sent.state is None:
                return read_error(str(error), request.max_result_bytes)
            # The server does not know what it has given: it was started anew, and has not run the
            # call. It is asked anew, and so may people be.
            return await self._call(request, _tool_request(request))
        except AnsweredError as error:
            return read_error(str(error), request.max_result_bytes)
        return await self._read(request, server, result)

    async def _resume(self, request: ResumeMcpToolRequest) -> CallMcpToolResponse:
        state = request.request_state if request.HasField("request_state") else None
        responses = responses_to(request.answered)
        return await self._call(request.call, _tool_request(request.call, responses, state))

    async def _read(
        self, request: CallMcpToolRequest, server: Server, result: dict[str, Any]
    ) -> CallMcpToolResponse:
        most = request.max_result_bytes
        kind = result.get("resultType")
        try:
            if kind == _ASKS:
                asked = read_questions(result)
                return asked if request.may_ask else read_error(_TOO_OFTEN, most)
            if kind == TASK:
                response = read_task(result, most)
                if request.may_defer or not response.HasField("task"):
                    return response
                await self._end_task(server, response.task.id, request)
                return lost_task(
                    "The MCP server has made a task of the call, which nobody follows."
                )
        except QuestionError as error:
            return read_error(str(error), most)
        return read_result(result, most)

    async def _poll(self, request: PollMcpTaskRequest) -> CallMcpToolResponse:
        responses = responses_to(request.answered)
        try:
            server = self._server(request.call)
            return await self._state(server, request.call, request.task_id, responses)
        except NotSentError as error:  # the call itself was sent
            raise LostError(str(error)) from None

    async def _cancel(self, request: CancelMcpTaskRequest) -> CallMcpToolResponse:
        """Have a task cancelled, unless it has ended."""
        try:
            server = self._server(request.call)
            # A server that does not tell the state may take the cancel all the same.
            with suppress(TimeoutError, LostError):
                async with asyncio.timeout(_LAST_STATE_SECONDS):
                    state = await self._state(server, request.call, request.task_id)
                if state.outcome:
                    return state
            await self._end_task(server, request.task_id, request.call)
        except NotSentError as error:
            raise LostError(str(error)) from None
        return lost_task(f"{request.reason} The MCP server was asked to cancel it.")

    async def _state(
        self,
        server: Server,
        call: CallMcpToolRequest,
        id_: str,
        responses: dict[str, Any] | None = None,
    ) -> CallMcpToolResponse:
        """Return the state of a task, after the responses to what it has asked."""
        wait = call.start_timeout.ToTimedelta().total_seconds()
        refusal = await _respond(server, id_, responses, wait) if responses else ""
        try:
            state = await server.ask(lambda found: found.task(id_), wait)
        except AnsweredError as error:
            if error.code == mcp_types.INVALID_PARAMS:
                return forgotten_task()
            raise LostError(str(error)) from None
        try:
            # The server names the task once; a response without its name is still about it.
            response = read_task({**state, "taskId": id_}, call.max_result_bytes)
        except QuestionError as error:
            return await self._given_up(server, id_, call, str(error))
        if refusal and any(each.key in (responses or ()) for each in response.asked):
            text = f"The task did not take what people answered: {refusal}"
            return await self._given_up(server, id_, call, text)
        return response

    async def _given_up(
        self, server: Server, id_: str, call: CallMcpToolRequest, problem: str
    ) -> CallMcpToolResponse:
        await self._end_task(server, id_, call)
        return lost_task(f"{problem} Its task was cancelled.")

    async def _end_task(self, server: Server, id_: str, request: CallMcpToolRequest) -> None:
        wait = request.start_timeout.ToTimedelta().total_seconds()
        try:
            await server.ask(lambda found: found.cancel_task(id_), wait)
        except AnsweredError as error:  # it has ended, or is forgotten
            self._logger.info(
                "mcp_task_not_cancelled",
                execution_id=request.execution_id,
                call_id=request.call_id,
                server=request.server,
                code=error.code,
            )

    def _server(self, request: CallMcpToolRequest) -> Server:
        server = self._servers.find(request.server)
        if server is None:
            raise NotSentError(f"There is {unknown_server(request.server)}.")
        if not server.resource.offers(request.tool):
            raise NotSentError(f"MCP server {request.server!r} offers no such tool.")
        return server

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


async def _respond(server: Server, id_: str, responses: dict[str, Any], wait: float) -> str:
    """Give a task the responses to what it has asked; return why it refuses them, or ""."""
    try:
        await server.ask(lambda found: found.update_task(id_, responses), wait)
    except AnsweredError as error:
        if error.code != mcp_types.INVALID_PARAMS:
            raise LostError(str(error)) from None
        return str(error)  # also of a task that has them already, or is forgotten
    return ""


def _tool_request(
    request: CallMcpToolRequest, responses: dict[str, Any] | None = None, state: str | None = None
) -> ToolRequest:
    arguments = json_text.parse(request.arguments_json)
    return ToolRequest(request.tool, arguments, _meta(request.call_json), responses, state)


def _meta(call_json: str) -> dict[str, Any]:
    call = json_text.parse(call_json) if call_json else {}
    return {CALL_META: call, KEY_META: call.get("idempotency_key", "")}


def _outcome(response: CallMcpToolResponse) -> str:
    """Return the outcome of an answer; of one that is no result, what the server wants."""
    if response.outcome:
        return ToolOutcome.Name(response.outcome).removeprefix("TOOL_OUTCOME_")
    return "TASK" if response.HasField("task") else "ASKED"
