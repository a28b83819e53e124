"""Streams of replies: each ends after its longest time, and all of them when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta

from stigma_api import errors
from stigma_api.errors import ApiError


class OpenStreams:
    """Ends streams so that their clients go on with the last cursor.

    Args:
        longest: time of a stream.
    """

    def __init__(self, longest: timedelta) -> None:
        self._longest = longest
        self._is_stopping = False
        self._waits: set[asyncio.Timeout] = set()

    def end_all(self) -> None:
        """End the streams that are open, and from now on each new one."""
        self._is_stopping = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(now)

    async def bounded(self, replies: AsyncGenerator[object, None]) -> AsyncIterator[object]:
        """Yield replies until the time is up, or the server stops.

        Raises:
            ApiError: UNAVAILABLE; resume with the last cursor.
        """
        async with aclosing(replies):
            async for reply in self._until_end(replies):
                yield reply

    async def _until_end(self, replies: AsyncIterator[object]) -> AsyncIterator[object]:
        end = asyncio.get_running_loop().time() + self._longest.total_seconds()
        while not self._is_stopping:
            try:
                async with asyncio.timeout_at(end) as wait:
                    self._waits.add(wait)
                    try:
                        reply = await anext(replies)
                    finally:
                        self._waits.discard(wait)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not wait.expired():
                    raise
                break
            yield reply
        raise self._ended()

    def _ended(self) -> ApiError:
        why = "the server stops" if self._is_stopping else "the stream reached its longest time"
        return errors.unavailable(f"{why}: resume with the last cursor")
