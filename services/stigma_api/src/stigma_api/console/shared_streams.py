"""Streams of page updates, one a topic, shared by all who follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Mapping
from dataclasses import dataclass, field

import structlog

from stigma_api.errors import ApiError

Fragments = Mapping[str, str]
"""Parts of a page by name, as HTML."""

Source = Callable[[], AsyncIterator[Fragments]]
"""Yields all parts whenever some may have changed; ends when none will change any more."""


class SharedStreams:
    """Runs a source once for each topic, as long as somebody follows it."""

    def __init__(self) -> None:
        self._topics: dict[Hashable, _Topic] = {}
        self._closing = asyncio.Event()

    async def follow(
        self, topic: Hashable, source: Source, *, quiet: float
    ) -> AsyncGenerator[Fragments, None]:
        """Yield the parts of a page, then those that changed; empty after `quiet` seconds of none.

        A slow follower gets the newest of what it missed. Ends with the source, or with `close`.

        Raises:
            ApiError: the source's.
        """
        followed = self._topics.get(topic)
        if followed is None or followed.task.done():
            followed = self._topics[topic] = _Topic(source)
        followed.followers += 1
        seen: dict[str, str] = {}
        try:
            while not self._closing.is_set():
                changed = followed.changed
                if changes := {k: v for k, v in followed.newest.items() if seen.get(k) != v}:
                    seen |= changes
                    yield changes
                elif followed.task.done():
                    followed.task.result()
                    return
                elif not await self._changed_within(quiet, changed, followed.task):
                    yield {}
        finally:
            followed.followers -= 1
            if not followed.followers:
                followed.task.cancel()
                if self._topics.get(topic) is followed:
                    del self._topics[topic]

    def close(self) -> None:
        """End every stream."""
        self._closing.set()

    async def _changed_within(
        self, seconds: float, changed: asyncio.Event, ended: asyncio.Task[None]
    ) -> bool:
        """Wait for a change or an end; return whether one came in time."""
        waits = [asyncio.create_task(event.wait()) for event in (changed, self._closing)]
        try:
            done, _ = await asyncio.wait(
                [*waits, ended], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            return bool(done)
        finally:
            for wait in waits:
                wait.cancel()


@dataclass
class _Topic:
    source: Source
    followers: int = 0
    newest: Fragments = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(_consume_exception)

    async def _run(self) -> None:
        async for fragments in self.source():
            self.newest = fragments
            self.changed.set()
            self.changed = asyncio.Event()


def _consume_exception(task: asyncio.Task[None]) -> None:
    """Log a failure: every follower may be gone by then."""
    if task.cancelled() or (error := task.exception()) is None or isinstance(error, ApiError):
        return
    structlog.get_logger().error("console_stream_failed", exc_info=error)
