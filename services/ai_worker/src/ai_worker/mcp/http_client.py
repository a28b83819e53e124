"""HTTP requests of a connection, none of which can end the connection for the others.

The `mcp` client ends a whole connection, and every request in flight, when one HTTP request raises.
Here a request that fails is answered instead, with a JSON-RPC error that says what is known of it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import httpx2
from typing_extensions import override

from ai_worker.mcp.bodies import json_object, read_body
from ai_worker.mcp.failures import DeniedError, LostError, NotSentError, RefusedError
from ai_worker.mcp.oauth import AccessTokens
from stigma.contracts.limits import MAX_PROVIDER_RESPONSE_BYTES

SESSION_HEADER = "mcp-session-id"

_CONNECT_SECONDS = 10.0
_CODE = -32000
# Only this process knows it: a server's own error is not taken for one of these.
_MARK = secrets.token_hex(16)
_FAILURES = {each.__name__: each for each in (NotSentError, RefusedError, DeniedError, LostError)}
_BEFORE_SENDING = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
)
_DISCOVER = "server/discover"
_AWAY = frozenset((502, 503, 504))
_DENIED = frozenset((401, 403))
_NOT_FOUND = 404
_REQUEST_TIMEOUT = 408


class ServerClient(httpx2.AsyncClient):
    """Sends a connection's requests, without a time limit, and answers those that fail."""

    def __init__(self, headers: Mapping[str, str], tokens: AccessTokens | None = None) -> None:
        """Make a client.

        Args:
            headers: of every request.
            tokens: of which each request has one.
        """
        super().__init__(
            headers=dict(headers),
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )
        self._tokens = tokens
        self.has_session = False
        """Whether the server keeps a session for this connection."""
        self._unreached: NotSentError | LostError | None = None
        """Why the server did not get, or answer, the request that finds out its version. The
        `mcp` client would take that for a server of an older one, and go on with it for good."""

    @override
    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        if request.method != "POST":
            try:
                return await self._send(request, stream=stream, **options)
            except NotSentError as error:
                raise httpx2.ConnectError(str(error), request=request) from None
        # Bodies are read here, whole, and what would inflate is not: see `read_body`.
        request.headers["accept-encoding"] = "identity"
        message = json.loads(await request.aread())
        if self._unreached is not None:
            return _answer(request, message, self._unreached)
        try:
            return await self._answered(request, message, **options)
        except _BEFORE_SENDING:
            failure: NotSentError | LostError = NotSentError("The MCP server cannot be reached.")
        except httpx2.TransportError:
            failure = LostError("The connection to the MCP server was lost.")
        except NotSentError as error:
            failure = error
        if _is_discovery(message):
            self._unreached = failure
        return _answer(request, message, failure)

    async def _answered(
        self, request: httpx2.Request, message: Any, **options: Any
    ) -> httpx2.Response:
        """Return the server's answer.

        Raises:
            TransportError: there is none.
            NotSentError: there is no token, or the server is away.
        """
        response = await self._send(request, stream=True, **options)
        self.has_session |= SESSION_HEADER in response.headers
        if _is_discovery(message) and response.status_code in _AWAY:
            await response.aclose()
            raise NotSentError(_status(response))
        return await _complete(request, message, response)

    async def _send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request with a token; one that the server does not take is replaced once.

        Raises:
            NotSentError: there is no token.
        """
        if self._tokens is None:
            return await super().send(request, **options)
        token = await self._tokens.token()
        response = await self._send_with(token, request, **options)
        if response.status_code != httpx2.codes.UNAUTHORIZED:
            return response
        await response.aclose()
        return await self._send_with(await self._tokens.token(token), request, **options)

    async def _send_with(
        self, token: str, request: httpx2.Request, **options: Any
    ) -> httpx2.Response:
        request.headers["authorization"] = f"Bearer {token}"
        return await super().send(request, **options)


def failure_in(data: Any) -> NotSentError | LostError | None:
    """Return the failure that a JSON-RPC error's data stands for; None for a server's own."""
    if not isinstance(data, dict) or data.get("mark") != _MARK:
        return None
    return _FAILURES[data["failure"]](data["text"])


async def _complete(
    request: httpx2.Request, message: Any, response: httpx2.Response
) -> httpx2.Response:
    """Return a response that the client can read without an error."""
    is_stream = response.is_success and _is_of(response, "text/event-stream")
    if is_stream or response.is_redirect or response.is_informational:
        return response
    body = await read_body(response, MAX_PROVIDER_RESPONSE_BYTES)
    failure = _failure(request, message, response, body)
    if failure is not None:
        return _answer(request, message, failure)
    return httpx2.Response(
        response.status_code, headers=response.headers, content=body, request=request
    )


def _failure(
    request: httpx2.Request, message: Any, response: httpx2.Response, body: bytes | None
) -> NotSentError | LostError | None:
    """Return what is wrong with a response; None for an answer, or an error of the server."""
    status = response.status_code
    if status == _NOT_FOUND and SESSION_HEADER in request.headers:
        return RefusedError("The MCP server has lost the session.")
    if body is None:
        text = "The MCP server's answer is too large, or encoded in a way that was not asked for."
        return LostError(text)
    if response.is_success:
        is_answer = bool(json_object(body)) or not _is_request(message)
        return None if is_answer else LostError("The MCP server's answer cannot be read.")
    if _is_of(response, "application/json") and isinstance(json_object(body).get("error"), dict):
        return None
    text = _status(response)
    if status in _DENIED:
        return DeniedError(text)
    is_lost = status >= httpx2.codes.INTERNAL_SERVER_ERROR or status == _REQUEST_TIMEOUT
    return LostError(text) if is_lost else RefusedError(text)


def _is_of(response: httpx2.Response, kind: str) -> bool:
    return str(response.headers.get("content-type", "")).lower().startswith(kind)


def _status(response: httpx2.Response) -> str:
    return f"The MCP server answered with HTTP status {response.status_code}."


def _is_discovery(message: Any) -> bool:
    return _is_request(message) and message["method"] == _DISCOVER


def _is_request(message: Any) -> bool:
    return isinstance(message, dict) and "id" in message and "method" in message


def _answer(
    request: httpx2.Request, message: Any, failure: NotSentError | LostError
) -> httpx2.Response:
    """Return the answer to a request that failed; a notification has none."""
    if not _is_request(message):
        return httpx2.Response(httpx2.codes.ACCEPTED, request=request)
    text = str(failure)
    data = {"mark": _MARK, "failure": type(failure).__name__, "text": text}
    error = {"code": _CODE, "message": text, "data": data}
    answered = {"jsonrpc": "2.0", "id": message["id"], "error": error}
    return httpx2.Response(httpx2.codes.OK, json=answered, request=request)
