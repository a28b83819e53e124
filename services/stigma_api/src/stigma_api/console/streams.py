"""Server-sent events: parts of a page, as they change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import grpc
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from stigma_api.access.concurrency import ConcurrencyLimit
from stigma_api.console.shared_streams import Fragments
from stigma_api.errors import ApiError

KEEP_ALIVE_SECONDS = 15.0
"""Proxies close what is silent for long."""
_LONGEST_SECONDS = 600.0
_RETRY_MILLISECONDS = 3000
_HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


class EventStream(Response):
    """Sends what a page's source yields, until it ends, the browser leaves, or the time is up.

    Args:
        updates: changed parts of the page; an empty one is sent as a sign of life.
        places: how many streams may be open.
    """

    def __init__(self, updates: AsyncGenerator[Fragments, None], places: ConcurrencyLimit) -> None:
        super().__init__(headers=_HEADERS)
        self._updates = updates
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        async with aclosing(self._updates) as updates:
            try:
                with self._places.slot():
                    await self._serve(updates, receive, send)
            except ApiError:
                full = PlainTextResponse("too many pages are followed\n", 503)
                await full(scope, receive, send)

    async def _serve(self, updates: AsyncIterator[Fragments], receive: Receive, send: Send) -> None:
        # Without a length: the end of the connection is the end of the stream.
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        sending = asyncio.create_task(_send_all(updates, send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled():
            sending.result()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_all(updates: AsyncIterator[Fragments], send: Send) -> None:
    async def say(text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    until = time.monotonic() + _LONGEST_SECONDS
    await say(f"retry: {_RETRY_MILLISECONDS}\n\n")
    try:
        async for fragments in updates:
            if not fragments:
                await say(": still here\n\n")
            else:
                await say(f"data: {json.dumps({'fragments': fragments})}\n\n")
            if time.monotonic() > until:
                return  # the browser comes back, and is asked again who it is
    except ApiError as error:
        if error.code in _PASSING:
            return  # the browser tries again
    await say("event: end\ndata: {}\n\n")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
