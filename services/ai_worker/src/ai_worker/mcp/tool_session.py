"""Requests to an MCP server over an open connection: its tools, calls of them, and tasks.

Results of calls have the form of the newest version of the protocol, whichever the server speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import mcp_types
from mcp.client import ClientRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

from ai_worker.mcp.failures import (
    AnsweredError,
    LostError,
    NotSentError,
    PagesRequiredError,
    RefusedError,
)
from ai_worker.mcp.request_failures import request_failures
from ai_worker.mcp.tasks import TASK, CancelTask, GetTask, UpdateTask, UpdateTaskParams
from stigma.contracts.limits import MAX_PROVIDER_RESPONSE_BYTES, MAX_TOOL_TIMEOUT

_PING_SECONDS = 5.0
# Time in which a server is declined what it asks for a task while a request is open.
_DECLINE_SECONDS = 10.0
_MAX_PAGES = 100
_ANY = TypeAdapter(dict[str, Any])
_SAID_OF_DECLINED = (
    "[While the call ran, the MCP server asked for input. It was declined: a server of protocol "
    "version 2025-11-25 waits with the call open, and people may take days.]"
)


@dataclass(frozen=True)
class ToolRequest:
    """A call of a tool as it is sent."""

    tool: str
    arguments: dict[str, Any]
    meta: dict[str, Any]
    """Metadata for the server."""
    responses: Mapping[str, mcp_types.ElicitResult] | None = None
    """To what the server has asked."""
    state: str | None = None
    """The state that the server wants back with them."""

    @property
    def declines(self) -> bool:
        """Whether people have declined something that the server asks."""
        return any(each.action != "accept" for each in (self.responses or {}).values())


class Declining:
    """Declines what a server asks while a request is open: people may take days."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(
        self,
        context: ClientRequestContext,  # noqa: ARG002
        params: mcp_types.ElicitRequestParams,  # noqa: ARG002
    ) -> mcp_types.ElicitResult:
        """Decline a question."""
        self.times += 1
        return mcp_types.ElicitResult(action="decline")


class ToolSession:
    """Requests of one session.

    All of them raise NotSentError for a request that has not happened, LostError for one that may
    have, and AnsweredError for an error that the server answered with.
    """

    def __init__(
        self, session: Any, declining: Declining, seconds: float, lost: Callable[[], str]
    ) -> None:
        """Begin.

        Args:
            session: of the `mcp` package.
            declining: what the session asks when its server asks.
            seconds: that one request may take.
            lost: returns why the connection was lost.
        """
        self._session = session
        self._declining = declining
        self._seconds = seconds
        self._lost = lost
        self._listed = False
        self._task_tools: set[str] = set()
        """Tools that run as tasks only, by version 2025-11-25."""
        self._listing = asyncio.Lock()

    @property
    def is_modern(self) -> bool:
        """Whether the server speaks the version without sessions."""
        return self._session.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def has_tasks_of_2025(self) -> bool:
        """Whether some tools may run as tasks by version 2025-11-25: their list says which."""
        tasks = getattr(self._session.server_capabilities, "tasks", None)
        return not self.is_modern and bool(tasks and tasks.requests and tasks.requests.tools)

    async def ping(self) -> None:
        """Ask whether the server still knows the session."""
        await self._request(mcp_types.PingRequest(), _PING_SECONDS)

    async def know_tools(self) -> None:
        """List the tools once: the list says what their calls need, such as headers.

        Raises:
            NotSentError: they are not listed.
        """
        async with self._listing:
            if not self._listed:
                try:
                    await self.list_tools()
                except (LostError, AnsweredError) as error:
                    raise NotSentError(str(error)) from None

    async def list_tools(self) -> list[mcp_types.Tool]:
        """Return the tools that the server lists, all pages of them."""
        found: list[mcp_types.Tool] = []
        size = 0
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            with request_failures(self._lost):
                page = await self._session.list_tools(
                    params=mcp_types.PaginatedRequestParams(cursor=cursor)
                )
            found += page.tools
            self._task_tools.update(each.name for each in page.tools if _is_task_only(each))
            size += len(page.model_dump_json())
            if size > MAX_PROVIDER_RESPONSE_BYTES:
                raise AnsweredError("The MCP server's list of tools is too large.")
            cursor = page.next_cursor
            if not cursor:
                self._listed = True
                return found
        raise AnsweredError("The MCP server's list of tools does not end.")

    async def call(self, request: ToolRequest) -> dict[str, Any]:
        """Call a tool, once; return the result as the server sent it."""
        declined = self._declining.times
        try:
            if self.is_modern or request.tool not in self._task_tools:
                result = await self._call(request)
            else:
                result = await self._call_as_task(request)
        except PagesRequiredError as error:
            return _asked_for_pages(error.pages)
        return _with_note(result) if self._declining.times > declined else result

    async def task(self, id_: str) -> dict[str, Any]:
        """Return the state of a task, its result included."""
        params = mcp_types.GetTaskRequestParams(task_id=id_)
        found = await self._request(GetTask(params=params))
        return found if self.is_modern else await self._task_of_2025(id_, found)

    async def update_task(self, id_: str, responses: dict[str, Any]) -> None:
        """Give a task the responses to what it has asked."""
        params = UpdateTaskParams(task_id=id_, input_responses=responses)
        await self._request(UpdateTask(params=params))

    async def cancel_task(self, id_: str) -> None:
        """Ask for the end of a task."""
        params = mcp_types.CancelTaskRequestParams(task_id=id_)
        await self._request(CancelTask(params=params))

    async def _call(self, request: ToolRequest) -> dict[str, Any]:
        if not self.is_modern and request.declines:
            # By version 2025-11-25 it asks for pages alone, by an error, and takes no response.
            raise RefusedError("A person declined to open the page that the call needs.")
        params = mcp_types.CallToolRequestParams(
            name=request.tool,
            arguments=request.arguments,
            input_responses=dict(request.responses or {}) or None if self.is_modern else None,
            request_state=request.state if self.is_modern else None,
            _meta=request.meta,
        )
        return await self._request(mcp_types.CallToolRequest(params=params))

    async def _call_as_task(self, request: ToolRequest) -> dict[str, Any]:
        """Call a tool by version 2025-11-25; the `mcp` package knows no such result of a call."""
        retention = round(MAX_TOOL_TIMEOUT.total_seconds() * 1000)
        params: dict[str, Any] = {
            "name": request.tool,
            "arguments": request.arguments,
            "task": {"ttl": retention},
            "_meta": request.meta,
        }
        options: dict[str, Any] = {"timeout": self._seconds}
        with request_failures(self._lost):
            self._session._stamp({"method": "tools/call", "params": params}, options)
            answered: dict[str, Any] = await self._session._dispatcher.send_raw_request(
                "tools/call", params, options
            )
        task = answered.get("task")
        if not isinstance(task, dict):
            return answered
        return {**task, "resultType": TASK, "pollIntervalMs": task.get("pollInterval")}

    async def _task_of_2025(self, id_: str, found: dict[str, Any]) -> dict[str, Any]:
        found = {**found, "pollIntervalMs": found.get("pollInterval")}
        params = mcp_types.GetTaskPayloadRequestParams(task_id=id_)
        payload = mcp_types.GetTaskPayloadRequest(params=params)
        if found.get("status") == "completed":
            return {**found, "result": await self._request(payload)}
        if found.get("status") == "input_required":
            # What the task asks comes while this request is open, and is declined.
            with suppress(LostError):
                result = await self._request(payload, _DECLINE_SECONDS)
                return {**found, "status": "completed", "result": _with_note(result)}
            return {**found, "status": "working"}
        return found

    async def _request(self, request: Any, seconds: float | None = None) -> dict[str, Any]:
        with request_failures(self._lost):
            result: dict[str, Any] = await self._session.send_request(
                request, _ANY, seconds or self._seconds
            )
            return result


def _is_task_only(tool: mcp_types.Tool) -> bool:
    execution = tool.execution
    return execution is not None and execution.task_support == "required"


def _with_note(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that says that the server was declined what it asked meanwhile."""
    content = result.get("content")
    if not isinstance(content, list):
        return result
    return {**result, "content": [*content, {"type": "text", "text": _SAID_OF_DECLINED}]}


def _asked_for_pages(pages: list[Any]) -> dict[str, Any]:
    """Return pages that an error asks for as a result of the newest version asks for them."""
    requests = {
        str(number): {"method": "elicitation/create", "params": params}
        for number, params in enumerate(pages)
    }
    return {"resultType": "input_required", "inputRequests": requests}
