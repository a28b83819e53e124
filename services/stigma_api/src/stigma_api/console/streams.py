"""Server-sent events: parts of a page, as they change."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import grpc
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from stigma_api.access.concurrency import ConcurrencyLimit
from stigma_api.console.shared_streams import Fragments
from stigma_api.errors import ApiError

KEEP_ALIVE_SECONDS = 15.0
"""Interval of keep-alive comments: proxies close connections that are silent for long."""
_MAX_SECONDS = 600.0
_RETRY_MILLISECONDS = 3000
_HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
_TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


class EventStream(StreamingResponse):
    """Sends a page's updates, until they end, the browser disconnects, or the time is up.

    Args:
        updates: changed parts of the page; an empty one is sent as a keep-alive comment.
        limit: of open streams.
    """

    def __init__(self, updates: AsyncGenerator[Fragments, None], limit: ConcurrencyLimit) -> None:
        self._updates = updates
        self._events = _events(self._begun(updates))
        self._limit = limit
        self.on_begin: Callable[[str], None] = lambda _outcome: None
        """Called once, with OK at the first update, or with the gRPC code of a refusal before."""
        super().__init__(self._events, headers=_HEADERS)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._updates), aclosing(self._events):
            try:
                with self._limit.slot():
                    await super().__call__(scope, receive, send)
            except ApiError as error:
                self.on_begin(error.code.name)
                full = PlainTextResponse("too many pages are followed\n", 503)
                await full(scope, receive, send)

    async def _begun(
        self, updates: AsyncGenerator[Fragments, None]
    ) -> AsyncGenerator[Fragments, None]:
        has_begun = False
        try:
            async for fragments in updates:
                if not has_begun:
                    has_begun = True
                    self.on_begin(grpc.StatusCode.OK.name)
                yield fragments
        except ApiError as error:
            if not has_begun:
                self.on_begin(error.code.name)
            raise


async def _events(updates: AsyncGenerator[Fragments, None]) -> AsyncGenerator[str, None]:
    until = time.monotonic() + _MAX_SECONDS
    yield f"retry: {_RETRY_MILLISECONDS}\n\n"
    try:
        async for fragments in updates:
            if fragments:
                yield f"data: {json.dumps({'fragments': fragments})}\n\n"
            else:
                yield ": still here\n\n"
            if time.monotonic() > until:
                return  # the browser reconnects, and is authenticated again
    except ApiError as error:
        if error.code in _TRANSIENT:
            return  # the browser tries again
    yield "event: end\ndata: {}\n\n"
