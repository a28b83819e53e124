"""The HTTP client of all calls: bounded, without cookies, each hop within the outgoing policy."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import httpcore2
import httpx2
from typing_extensions import override

from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, WorkflowError
from zigflow_worker.outgoing.bodies import ACCEPTED_ENCODING, BodyStart, read_body
from zigflow_worker.outgoing.bounded_stream import BoundedStream
from zigflow_worker.outgoing.failures import translated_failures
from zigflow_worker.outgoing.memory import CallMemory, MemoryBudget
from zigflow_worker.outgoing.messages import (
    Headers,
    HttpSender,
    OutgoingRequest,
    OutgoingResponse,
)
from zigflow_worker.outgoing.network import CheckedNetwork
from zigflow_worker.outgoing.policy import OutgoingPolicy

CheckHop: TypeAlias = Callable[[str], None]
"""Checks the URL of a hop before it is sent (raises WorkflowError)."""

CREDENTIAL_HEADERS = frozenset(("authorization", "cookie", "proxy-authorization"))
_FOLLOWED = frozenset((301, 302, 303, 307, 308))
_MOVED, _SEE_OTHER = frozenset((301, 302)), 303
_BODY_HEADERS = frozenset(("content-length", "content-type", "content-encoding"))
_OWN_HEADERS = frozenset(("accept-encoding", "connection", "content-length", "transfer-encoding"))
_SHARED_BYTES = 64 * 1024 * 1024
"""The budget of responses that are read for several calls, or before one: documents and tokens. It
is their own: calls wait for them while they hold what they need themselves."""
_FRAMED = 2
"""Times that a body may be larger in its chunks than without them."""
_KEPT_CONNECTIONS = 20
_KEPT_SECONDS = 4.0
"""Less than servers wait for the next request: 5 s is common."""
_USER_AGENT = "stigma"
_LAST_PORT = 65535
_MAX_DIGITS = 20
"""Of a length, which is beyond the limit then."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of the client; sizes are bytes."""

    response_bytes: int = 2 * 1024 * 1024
    """Of a body, before and after decoding."""
    header_bytes: int = 64 * 1024
    connect_seconds: float = 10.0
    redirects: int = 10
    connections: int = 200


class HttpClient(HttpSender):
    """One pool of connections, shared by a worker's calls."""

    def __init__(self, policy: OutgoingPolicy, limits: HttpLimits | None = None) -> None:
        self._limits = limits or HttpLimits()
        self._memory = MemoryBudget(_SHARED_BYTES)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context(),
            max_connections=self._limits.connections,
            max_keepalive_connections=_KEPT_CONNECTIONS,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=CheckedNetwork(policy),
        )

    @override
    async def send(self, request: OutgoingRequest) -> OutgoingResponse:
        return await self._send(request, _no_check)

    def checking(self, check: CheckHop, memory: CallMemory | None = None) -> HttpSender:
        """Return a sender that checks each hop first, the first one included.

        Its responses count as held by `memory`, the last one until there is another.
        """
        return _CheckingSender(self, check, memory)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _send(
        self, request: OutgoingRequest, check: CheckHop, memory: CallMemory | None = None
    ) -> OutgoingResponse:
        if memory is not None:
            return await self._follow(request, check, memory)
        memory = self._memory.new_call()
        try:
            return await self._follow(request, check, memory)
        finally:
            memory.release()

    async def _follow(
        self, request: OutgoingRequest, check: CheckHop, memory: CallMemory
    ) -> OutgoingResponse:
        for _ in range(self._limits.redirects + 1):
            check(request.url)
            response = await self._exchange(request, memory)
            location = response.header("location")
            if not request.follow or response.status not in _FOLLOWED or location is None:
                return response
            request = redirected(request, response.status, location)
            del response  # its body, before the next one is read
        detail = f"more than {self._limits.redirects} redirects"
        raise WorkflowError.of(COMMUNICATION, detail)

    async def _exchange(self, request: OutgoingRequest, memory: CallMemory) -> OutgoingResponse:
        wire = _wire_request(request)
        place = f"{request.method} {_origin(wire.url)}"
        with translated_failures(place):
            async with self._responding(wire) as response:
                headers = self._headers(response)
                start = _body_start(wire, headers)
                body = await read_body(
                    response.aiter_stream(), start, self._limits.response_bytes, memory
                )
        return OutgoingResponse(status=response.status, headers=headers, body=body, request=request)

    @asynccontextmanager
    async def _responding(self, wire: httpx2.Request) -> AsyncIterator[httpcore2.Response]:
        response = await self._pool.handle_async_request(
            httpcore2.Request(
                method=wire.method,
                url=httpcore2.URL(
                    scheme=wire.url.raw_scheme,
                    host=wire.url.raw_host,
                    port=wire.url.port,
                    target=wire.url.raw_path,
                ),
                headers=wire.headers.raw,
                content=wire.content,
                extensions={"timeout": {"connect": self._limits.connect_seconds}},
            )
        )
        stream = response.extensions["network_stream"]
        # Where the server switches protocols it is another one: no body follows, nor a request.
        connection = stream if isinstance(stream, BoundedStream) else None
        try:
            if connection is not None:
                connection.expect_body(_FRAMED * self._limits.response_bytes)
            yield response
        finally:
            if connection is not None and _is_more_than_one(response):
                connection.spoil()
            await response.aclose()

    def _headers(self, response: httpcore2.Response) -> Headers:
        size = sum(len(name) + len(value) for name, value in response.headers)
        if size > self._limits.header_bytes:
            detail = f"the response's headers are larger than {self._limits.header_bytes} bytes"
            raise WorkflowError.of(COMMUNICATION, detail)
        return [(k.decode("ascii"), v.decode("latin-1")) for k, v in response.headers]


class _CheckingSender(HttpSender):
    def __init__(self, client: HttpClient, check: CheckHop, memory: CallMemory | None) -> None:
        self._client = client
        self._check = check
        self._memory = memory

    @override
    async def send(self, request: OutgoingRequest) -> OutgoingResponse:
        return await self._client._send(request, self._check, self._memory)


def trusted_roots() -> bytes | None:
    """Return the PEM of the authorities that the client trusts; None: none that can be listed."""
    authorities = httpcore2.default_ssl_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, authorities)).encode() or None


def redirected(request: OutgoingRequest, status: int, location: str) -> OutgoingRequest:
    """Return the request that a redirect asks for, without credentials to another origin.

    Raises:
        WorkflowError: of type `communication`, status 500: it leads to no HTTP URL.
    """
    try:
        old = httpx2.URL(request.url)
        new = old.join(location)
    except (httpx2.InvalidURL, ValueError):
        raise WorkflowError.of(COMMUNICATION, "a redirect leads to no URL") from None
    if new.userinfo:
        raise WorkflowError.of(COMMUNICATION, "a redirect leads to a URL with credentials")
    if new.scheme not in {"http", "https"} or not new.host or (new.port or 0) > _LAST_PORT:
        raise WorkflowError.of(COMMUNICATION, "a redirect leads to no http or https URL")
    changed = replace(request, url=str(new.copy_with(fragment=None)))
    dropped: frozenset[str] = frozenset()
    if _origin(old) != _origin(new):
        dropped |= CREDENTIAL_HEADERS | {"host"}
    method = request.method
    if status == _SEE_OTHER or (status in _MOVED and method == "POST"):
        changed = replace(changed, method="HEAD" if method == "HEAD" else "GET", body=None)
        dropped |= _BODY_HEADERS
    kept = [(name, value) for name, value in request.headers if name.lower() not in dropped]
    return replace(changed, headers=kept)


def origin(url: str) -> str:
    """Return scheme, host and port of a URL (raises WorkflowError)."""
    return _origin(_url(url))


def _origin(url: httpx2.URL) -> str:
    port = url.port or (443 if url.scheme == "https" else 80)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host.lower()}:{port}"


def _url(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise WorkflowError.of(CONFIGURATION, "the endpoint is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise WorkflowError.of(CONFIGURATION, "the endpoint is not an http or https URL")
    if (url.port or 0) > _LAST_PORT:
        raise WorkflowError.of(CONFIGURATION, f"the endpoint has a port beyond {_LAST_PORT}")
    if url.userinfo:
        detail = "credentials belong into 'authentication', not into the endpoint's URL"
        raise WorkflowError.of(CONFIGURATION, detail)
    return url


def _wire_request(request: OutgoingRequest) -> httpx2.Request:
    headers = [("accept-encoding", ACCEPTED_ENCODING)]
    for name, value in request.headers:
        check_header(name, value)
        if name.lower() not in _OWN_HEADERS:
            headers.append((name, value))
    known = {name.lower() for name, _ in headers}
    defaults = (("accept", "*/*"), ("user-agent", _USER_AGENT))
    headers.extend((name, value) for name, value in defaults if name not in known)
    wire_headers = [(name.encode("ascii"), value.encode()) for name, value in headers]
    return httpx2.Request(
        request.method, _url(request.url), headers=wire_headers, content=request.body
    )


def _body_start(request: httpx2.Request, headers: Headers) -> BodyStart:
    found = {name.lower(): value for name, value in headers}
    length = found.get("content-length", "")
    is_known = request.method != "HEAD" and length.isdecimal() and len(length) < _MAX_DIGITS
    return BodyStart(
        server=_origin(request.url),
        encoding=found.get("content-encoding", ""),
        length=int(length) if is_known else None,
    )


def _is_more_than_one(response: httpcore2.Response) -> bool:
    """Return whether a server sent more than its response: the next call would take it for its own.

    A body after a 204 is such, too. The library does not tell; where it is built in another way,
    connections are not used again.
    """
    try:
        state = response.stream._stream._connection._h11_state  # type: ignore[union-attr]
        more, _ = state.trailing_data
    except AttributeError:
        return True
    return bool(more)


def check_header(name: str, value: str) -> None:
    """Check a header that is to be sent.

    Raises:
        WorkflowError: of type `configuration`, status 400: it would be no header, or more than one.
    """
    if not _HEADER_NAME.fullmatch(name):
        raise WorkflowError.of(CONFIGURATION, "a header's name has characters that none may have")
    if not _HEADER_VALUE.fullmatch(value):
        detail = f"the value of the header '{name}' has control characters or lone surrogates"
        raise WorkflowError.of(CONFIGURATION, detail)


def _no_check(_url: str) -> None:
    """Check nothing."""
