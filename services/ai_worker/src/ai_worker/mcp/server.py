"""A configured MCP server: its connection, which is opened when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import mcp_types

from ai_worker.mcp.connection import Connection
from ai_worker.mcp.failures import DeniedError, LostError, NotSentError, RefusedError
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.oauth import AccessTokens
from ai_worker.mcp.tool_session import ToolRequest
from ai_worker.mcp_resources import McpServerResource

R = TypeVar("R")

_FIRST_DELAY, _MAX_DELAY = 0.1, 2.0


class Server:
    """One server. A connection that is lost is opened anew before a request is sent."""

    def __init__(self, resource: McpServerResource, metrics: McpMetrics) -> None:
        self.resource = resource
        self._metrics = metrics
        self._tokens = AccessTokens(resource.oauth) if resource.oauth else None
        self._slots = asyncio.Semaphore(resource.max_concurrency)
        self._connection: Connection | None = None
        self._connections: set[Connection] = set()
        self._closed = False

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return sum(each.requests for each in self._connections)

    async def call(self, request: ToolRequest, start_seconds: float) -> dict[str, Any]:
        """Call a tool, and send the call at most once; return the result as the server sent it.

        Args:
            request: the call.
            start_seconds: how long the call may wait until it is sent.

        Raises:
            NotSentError: the call has not happened.
            LostError: the call may have happened.
            AnsweredError: the server answered with an error.
        """
        deadline = asyncio.get_running_loop().time() + start_seconds
        async with self._slot(deadline):
            return await self._send(
                Connection.ready_for_calls, lambda found: found.call(request), deadline
            )

    async def ask(self, send: Callable[[Connection], Awaitable[R]], start_seconds: float) -> R:
        """Send a request about a task.

        Args:
            send: sends it.
            start_seconds: how long it may wait until it is sent.

        Raises:
            NotSentError, LostError: the server has not answered.
            AnsweredError: it answered with an error.
        """
        deadline = asyncio.get_running_loop().time() + start_seconds
        async with self._slot(deadline):
            return await self._send(Connection.ready, send, deadline)

    async def list_tools(self, seconds: float) -> list[mcp_types.Tool]:
        """Return the tools that the server lists, waiting for it if need be.

        Raises:
            NotSentError, LostError: it did not list them in time.
            AnsweredError: it answered with an error.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                return await self._list_tools(deadline)
        except TimeoutError:
            raise LostError("The MCP server did not list its tools in time.") from None

    async def close(self) -> None:
        """Close every connection, and open none any more; processes have ended then."""
        self._closed = True
        await asyncio.gather(*(each.close() for each in list(self._connections)))
        if self._tokens is not None:
            await self._tokens.close()

    async def _list_tools(self, deadline: float) -> list[mcp_types.Tool]:
        while True:
            try:
                return await self._send(Connection.ready, Connection.list_tools, deadline)
            except LostError:  # listing has no effects
                await asyncio.sleep(_MAX_DELAY)

    async def _send(
        self,
        ready: Callable[[Connection], Awaitable[None]],
        send: Callable[[Connection], Awaitable[R]],
        deadline: float,
    ) -> R:
        """Send a request; it is sent again only if it did not reach the server.

        Args:
            ready: waits until a connection is ready for it.
            send: sends it.
            deadline: until which it may wait to be sent.
        """
        delay = _FIRST_DELAY
        problem: NotSentError | None = None
        while True:
            try:
                await self._have_token(deadline)
                connection = await self._ready(ready, deadline)
                return await self._send_on(connection, send)
            except RefusedError:
                raise
            except NotSentError as error:
                # The first says more than a last one that had no time.
                problem = problem or error
                if asyncio.get_running_loop().time() + delay >= deadline:
                    raise problem from None
            await asyncio.sleep(delay)
            delay = min(2 * delay, _MAX_DELAY)

    async def _have_token(self, deadline: float) -> None:
        """Wait for a token before anything is sent: what gets none has not happened."""
        if self._tokens is None:
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._tokens.token()
        except TimeoutError:
            raise NotSentError("The authorization server did not answer in time.") from None

    async def _send_on(
        self, connection: Connection, send: Callable[[Connection], Awaitable[R]]
    ) -> R:
        try:
            return await send(connection)
        except (asyncio.CancelledError, LostError):
            # A process may go on with what nobody waits for. It ends when others are done with it.
            if connection.is_process:
                connection.retire()
            raise

    async def _ready(
        self, ready: Callable[[Connection], Awaitable[None]], deadline: float
    ) -> Connection:
        if self._closed:
            raise RefusedError("The worker is stopping.")
        connection = self._connection
        if connection is None or not connection.is_usable:
            connection = self._connection = self._open()
        try:
            async with asyncio.timeout_at(deadline):
                await ready(connection)
        except TimeoutError:
            raise NotSentError("The MCP server did not answer in time.") from None
        except NotSentError as error:
            connection.retire()
            raise (error if isinstance(error, DeniedError) else NotSentError(str(error))) from None
        return connection

    def _open(self) -> Connection:
        name = self.resource.name
        connection = Connection(
            self.resource,
            self._tokens,
            lambda opened: self._metrics.connected(name, failed=not opened),
        )
        self._connections.add(connection)
        connection.when_closed(self._connections.discard)
        return connection

    @asynccontextmanager
    async def _slot(self, deadline: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise NotSentError("The MCP server has as many calls as it may have.") from None
        try:
            yield
        finally:
            self._slots.release()
