"""Connections of which each response takes so many bytes at most, whatever they are."""

from __future__ import annotations

import ssl
from typing import Any

import httpcore2
from typing_extensions import override

HEAD_BYTES = 256 * 1024
"""Bytes of a response before its body: headers, and those of interim responses (1xx), of which
there may be any number."""


class BoundedStream(httpcore2.AsyncNetworkStream):
    """A connection that fails where a server sends more than a response may have.

    Bytes that are no part of a body (interim responses, extensions of chunks) count nowhere else:
    without an end, they keep a core busy for as long as the call may take.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = HEAD_BYTES
        self._is_spoiled = False

    def spoil(self) -> None:
        """Have this connection carry no other request."""
        self._is_spoiled = True

    def expect_body(self, size: int) -> None:
        """Let so many more bytes come."""
        self._left += size

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        content = await self._stream.read(max_bytes, timeout)
        self._left -= len(content)
        if self._left < 0:
            raise httpcore2.RemoteProtocolError("more bytes than a response may have")
        return content

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._left = HEAD_BYTES
        await self._stream.write(buffer, timeout)

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()

    @override
    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return BoundedStream(stream)

    @override
    def get_extra_info(self, info: str) -> Any:
        # The pool drops idle connections that have something to read.
        if info == "is_readable" and self._is_spoiled:
            return True
        return self._stream.get_extra_info(info)
