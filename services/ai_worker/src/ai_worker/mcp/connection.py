"""A connection to an MCP server, owned by one task.

The `mcp` client opens cancel scopes of anyio, which have to be left by the task that entered them,
in reverse order. So one task opens the connection, waits, and closes it; requests are sent from the
tasks that want them.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import anyio
import mcp_types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import SecretStr, TypeAdapter, ValidationError

from ai_worker.mcp.failures import AnsweredError, LostError, NotSentError
from ai_worker.mcp.http_client import ServerClient, failure_in
from ai_worker.mcp.oauth import AccessTokens
from ai_worker.mcp.process_guard import guarded
from ai_worker.mcp.process_transport import MAX_LINE_BYTES, process_transport
from ai_worker.mcp_resources import McpServerResource
from stigma.contracts.limits import MAX_PROVIDER_RESPONSE_BYTES

_CONNECT_SECONDS = 30.0
_PING_SECONDS = 5.0
# Time in which a connection is closed as the protocol wants it, before it is cut. A server that is
# a process gets 2 s after the end of its input, and 2 s after SIGTERM.
_CLOSE_SECONDS = 10.0
_TOO_LONG = (
    f"The MCP server wrote a line of more than {MAX_LINE_BYTES // 1024**2} MiB; it was ended."
)
_MAX_PAGES = 100
_MAX_ERROR_CHARACTERS = 4_000
_ANY = TypeAdapter(dict[str, Any])


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
        self._client: Client | None = None
        self._http: ServerClient | None = None
        if resource.url:
            self._http = ServerClient(_shown(resource.headers), tokens)
        self._ended = False
        self._lost = "The connection to the MCP server was lost."
        self._listed = False
        self._listing = asyncio.Lock()
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
        if self._http is not None and self._http.has_session and not self._is_modern:
            # A server that was started anew has no sessions, and says so only when it is asked.
            try:
                await self._request(mcp_types.PingRequest(), _PING_SECONDS)
            except (NotSentError, LostError) as error:
                raise NotSentError(str(error)) from None
            except AnsweredError:
                pass  # it answers, be it that it knows no ping

    async def ready_for_calls(self) -> None:
        """Wait as `ready` does, and for the list of tools where calls need it.

        Raises:
            NotSentError: it cannot be opened, has ended, or lists no tools.
        """
        await self.ready()
        if self._http is not None and self._is_modern:
            await self._know_tools()

    async def call(
        self, tool: str, arguments: dict[str, Any], meta: dict[str, Any]
    ) -> dict[str, Any]:
        """Call a tool, once, when it is ready for calls; return the result as the server sent it.

        Raises:
            NotSentError: the call has not happened.
            LostError: the call may have happened.
            AnsweredError: the server answered with an error.
        """
        params = mcp_types.CallToolRequestParams(name=tool, arguments=arguments, _meta=meta)
        return await self._request(mcp_types.CallToolRequest(params=params), self._seconds)

    async def list_tools(self) -> list[mcp_types.Tool]:
        """Return the tools that the server lists, all pages of them.

        Raises:
            NotSentError, LostError, AnsweredError: it does not list them.
        """
        found: list[mcp_types.Tool] = []
        size = 0
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            with _failures(lambda: self._lost):
                page = await self._session.list_tools(
                    params=mcp_types.PaginatedRequestParams(cursor=cursor)
                )
            found += page.tools
            size += len(page.model_dump_json())
            if size > MAX_PROVIDER_RESPONSE_BYTES:
                raise AnsweredError("The MCP server's list of tools is too large.")
            cursor = page.next_cursor
            if not cursor:
                self._listed = True
                return found
        raise AnsweredError("The MCP server's list of tools does not end.")

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

    async def _know_tools(self) -> None:
        """List the tools once: some name arguments that go into headers of their calls as well."""
        async with self._listing:
            if not self._listed:
                try:
                    await self.list_tools()
                except (LostError, AnsweredError) as error:
                    raise NotSentError(str(error)) from None

    async def _request(self, request: Any, seconds: float) -> dict[str, Any]:
        self.requests += 1
        try:
            with _failures(lambda: self._lost):
                result: dict[str, Any] = await self._session.send_request(request, _ANY, seconds)
                return result
        finally:
            self.requests -= 1

    @property
    def _session(self) -> Any:
        if self._client is None:
            raise NotSentError("The connection to the MCP server has ended.")
        return self._client.session

    @property
    def _is_modern(self) -> bool:
        return self._session.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def _seconds(self) -> float:
        return self._resource.timeout.total_seconds()

    async def _own(self) -> None:
        """Open, wait, and close."""
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + _CONNECT_SECONDS) as scope:
                async with AsyncExitStack() as stack:
                    client = Client(
                        await self._transport(stack), cache=None, read_timeout_seconds=self._seconds
                    )
                    self._client = await stack.enter_async_context(client)
                    scope.deadline = math.inf
                    self._opened.set_result(None)
                    self._on_opened(True)
                    await self._until_unused()
                    scope.deadline = anyio.current_time() + _CLOSE_SECONDS
            self._failed("The MCP server did not answer when it was connected to.")
        except Exception as error:  # noqa: BLE001 - whatever ends it: all of them are failures to connect
            self._failed(_cause(error, self._lost))
        finally:
            self._client = None
            self._ended = True

    async def _until_unused(self) -> None:
        await self._stop.wait()
        while self.requests:  # noqa: ASYNC110 - rare, and each ends in time
            await asyncio.sleep(0.05)

    def _failed(self, problem: str) -> None:
        if not self._opened.done():
            self._on_opened(False)
            self._opened.set_exception(NotSentError(problem))
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


@contextmanager
def _failures(lost: Callable[[], str]) -> Iterator[None]:
    """Raise the failures of a request as ours; `lost` says why a connection was."""
    try:
        yield
    except MCPError as error:
        failure = failure_in(error.data)
        if failure is not None:
            raise failure from None
        if error.code == mcp_types.CONNECTION_CLOSED:
            raise LostError(lost()) from None
        if error.code == mcp_types.PARSE_ERROR:  # also the client's own, of an answer
            raise LostError("The MCP server's answer cannot be read.") from None
        if error.code == mcp_types.REQUEST_TIMEOUT:
            raise LostError("The MCP server did not answer in time.") from None
        text = " ".join(error.message.split())[:_MAX_ERROR_CHARACTERS]
        raise AnsweredError(f"The MCP server answered with an error: {text}") from None
    except ValidationError:
        text = "The MCP server's answer is not one that its version of the protocol has."
        raise AnsweredError(text) from None


def _cause(error: BaseException, lost: str) -> str:
    """Return why a connection was not opened."""
    if isinstance(error, BaseExceptionGroup):
        return _cause(error.exceptions[0], lost)
    if isinstance(error, NotSentError | LostError | AnsweredError):
        return str(error)
    try:
        with _failures(lambda: lost):
            raise error  # noqa: TRY301 - to be read as the failure of a request is
    except (NotSentError, LostError, AnsweredError) as failure:
        return str(failure)
    except Exception as unknown:  # noqa: BLE001 - only its class leaves this process
        return f"The MCP server cannot be connected to: {type(unknown).__name__}."
