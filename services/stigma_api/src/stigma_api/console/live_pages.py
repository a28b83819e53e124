"""Streams of updates of pages, for principals."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from stigma_api.access.concurrency import ConcurrencyLimit
from stigma_api.console.shared_streams import Fragments, SharedStreams
from stigma_api.console.signed_in_pages import principal_of
from stigma_api.console.streams import KEEP_ALIVE_SECONDS, EventStream

_MAX_STREAMS = 100


class LivePages:
    """Streams what changes on a page, once for all who look at it as the same principal."""

    def __init__(self, shared: SharedStreams) -> None:
        self._shared = shared
        self._limit = ConcurrencyLimit(_MAX_STREAMS, "streams")

    def stream(
        self, request: Request, topic: object, source: Callable[[], AsyncIterator[Fragments]]
    ) -> Response:
        """Return the stream of a page's updates."""
        key = (principal_of(request).name, topic)

        async def updates() -> AsyncGenerator[Fragments, None]:
            changes = self._shared.follow(key, source, quiet=KEEP_ALIVE_SECONDS)
            async with aclosing(changes):
                async for fragments in changes:
                    yield fragments

        return EventStream(updates(), self._limit)
