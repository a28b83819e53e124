"""A connection to an MCP server, owned by one task.

The `mcp` client opens cancel scopes of anyio, which have to be left by the task that entered them,
in reverse order. So one task opens the connection, waits, and closes it; requests are sent from the
tasks that want them.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import anyio
import mcp_types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from ai_worker.mcp.failures import AnsweredError, LostError, NotSentError
from ai_worker.mcp.http_client import ServerClient
from ai_worker.mcp.oauth import AccessTokens
from ai_worker.mcp.process_guard import guarded
from ai_worker.mcp.process_transport import MAX_LINE_BYTES, process_transport
from ai_worker.mcp.request_failures import connect_failure
from ai_worker.mcp.tasks import TasksExtension
from ai_worker.mcp.tool_session import Declining, ToolRequest, ToolSession
from ai_worker.mcp_resources import McpServerResource
from stigma.contracts.limits import MAX_PROVIDER_RESPONSE_BYTES

_CONNECT_SECONDS = 30.0
# Time in which a connection is closed as the protocol wants it, before it is cut. A server that is
# a process gets 2 s after the end of its input, and 2 s after SIGTERM.
_CLOSE_SECONDS = 10.0
_TOO_LONG = (
    f"The MCP server wrote a line of more than {MAX_LINE_BYTES // 1024**2} MiB; it was ended."
)

R = TypeVar("R")


class Connection:
    """One connection: opened when it is made, used until it is closed or lost."""

    def __init__(
        self,
        resource: McpServerResource,
        tokens: AccessTokens | None,
        on_opened: Callable[[bool], None],
    ) -> None:
        """Begin to open it.

        Args:
            resource: the server.
            tokens: the server's; they outlive the connection.
            on_opened: called once, with whether it has been opened.
        """
        self._resource = resource
        self._tools: ToolSession | None = None
        self._http: ServerClient | None = None
        if resource.url:
            self._http = ServerClient(_shown(resource.headers), tokens)
        self._ended = False
        self._lost = "The connection to the MCP server was lost."
        self._answers_pings = False
        self._stop = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_opened = on_opened
        # Not in the context of the call that needs it first: it outlives that call.
        self._owner = asyncio.create_task(
            self._own(), name=f"mcp-{resource.name}", context=contextvars.Context()
        )
        self.requests = 0
        """Requests in flight."""

    @property
    def is_usable(self) -> bool:
        """Whether requests may be sent: False once it has ended, or is to be closed."""
        return not (self._ended or self._stop.is_set() or self._owner.done())

    @property
    def is_process(self) -> bool:
        """Whether the server is a process of this connection, and ends with it."""
        return self._http is None

    async def ready(self) -> None:
        """Wait until it is open, and check that the server still knows it.

        Raises:
            NotSentError: it cannot be opened, or has ended.
        """
        await asyncio.shield(self._opened)
        if not self.is_usable:
            raise NotSentError("The connection to the MCP server has ended.")
        session = self._session
        if self._http is not None and self._http.has_session and not session.is_modern:
            # A server that was started anew has no sessions, and says so only when it is asked.
            try:
                await self._counted(session.ping())
                self._answers_pings = True
            except (NotSentError, LostError) as error:
                raise NotSentError(str(error)) from None
            except AnsweredError:
                # It may know no pings; one that did has lost the session, and says so its own way.
                if self._answers_pings:
                    text = "The MCP server does not know the session any more."
                    raise NotSentError(text) from None

    async def ready_for_calls(self) -> None:
        """Wait as `ready` does, and for the list of tools where calls need it.

        Raises:
            NotSentError: it cannot be opened, has ended, or lists no tools.
        """
        await self.ready()
        session = self._session
        if (self._http is not None and session.is_modern) or session.has_tasks_of_2025:
            await session.know_tools()

    async def call(self, request: ToolRequest) -> dict[str, Any]:
        """Call a tool, once, when it is ready for calls; return the result as the server sent it.

        Raises:
            NotSentError: the call has not happened.
            LostError: the call may have happened.
            AnsweredError: the server answered with an error.
        """
        return await self._counted(self._session.call(request))

    async def list_tools(self) -> list[mcp_types.Tool]:
        """Return the tools that the server lists, all pages of them.

        Raises:
            NotSentError, LostError, AnsweredError: it does not list them.
        """
        return await self._session.list_tools()

    async def task(self, id_: str) -> dict[str, Any]:
        """Return the state of a task, as `call` raises."""
        return await self._counted(self._session.task(id_))

    async def update_task(self, id_: str, responses: dict[str, Any]) -> None:
        """Give a task the responses to what it has asked, as `call` raises."""
        await self._counted(self._session.update_task(id_, responses))

    async def cancel_task(self, id_: str) -> None:
        """Ask for the end of a task, as `call` raises."""
        await self._counted(self._session.cancel_task(id_))

    def retire(self) -> None:
        """Close it as soon as no request is in flight; nothing more is to be sent."""
        self._stop.set()

    def when_closed(self, then: Callable[[Connection], None]) -> None:
        """Call `then` once it is closed."""
        self._owner.add_done_callback(lambda _: then(self))

    async def close(self) -> None:
        """Close it, and wait until it is closed."""
        self.requests = 0
        self._stop.set()
        await asyncio.wait([self._owner])

    async def _counted(self, request: Awaitable[R]) -> R:
        self.requests += 1
        try:
            return await request
        finally:
            self.requests -= 1

    @property
    def _session(self) -> ToolSession:
        if self._tools is None:
            raise NotSentError("The connection to the MCP server has ended.")
        return self._tools

    @property
    def _seconds(self) -> float:
        return self._resource.timeout.total_seconds()

    async def _own(self) -> None:
        """Open, wait, and close."""
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + _CONNECT_SECONDS) as scope:
                async with AsyncExitStack() as stack:
                    declining = Declining()
                    client = Client(
                        await self._transport(stack),
                        cache=None,
                        read_timeout_seconds=self._seconds,
                        elicitation_callback=declining,
                        extensions=[TasksExtension()],
                    )
                    opened = await stack.enter_async_context(client)
                    self._tools = ToolSession(
                        opened.session, declining, self._seconds, lambda: self._lost
                    )
                    scope.deadline = math.inf
                    self._opened.set_result(None)
                    self._on_opened(True)
                    await self._until_unused()
                    scope.deadline = anyio.current_time() + _CLOSE_SECONDS
            text = "The MCP server did not answer when it was connected to."
            self._failed(NotSentError(text))
        except Exception as error:  # noqa: BLE001 - whatever ends it: all of them are failures to connect
            self._failed(connect_failure(error, self._lost))
        finally:
            self._tools = None
            self._ended = True

    async def _until_unused(self) -> None:
        await self._stop.wait()
        while self.requests:  # noqa: ASYNC110 - rare, and each ends in time
            await asyncio.sleep(0.05)

    def _failed(self, problem: NotSentError) -> None:
        if not self._opened.done():
            self._on_opened(False)
            self._opened.set_exception(problem)
            self._opened.exception()  # known, also if nobody waits any more

    async def _transport(self, stack: AsyncExitStack) -> Any:
        resource = self._resource
        if self._http is not None:
            http = await stack.enter_async_context(self._http)
            return streamable_http_client(
                resource.url, http_client=http, max_sse_event_size=MAX_PROVIDER_RESPONSE_BYTES
            )
        variables = _shown(resource.env)
        return process_transport(
            guarded(resource.command, resource.args, variables), variables, self._note_end
        )

    def _note_end(self, too_long: bool) -> None:
        if too_long:
            self._lost = _TOO_LONG
        self._ended = True
        self._stop.set()


def _shown(values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}
