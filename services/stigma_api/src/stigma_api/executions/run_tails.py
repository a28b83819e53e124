"""Histories of runs as they grow: one long poll a run, however many follow it.

Whoever needs more events polls for all. The newest events are kept for those who are slower, and
for those who come later; who is further behind reads by itself until it has caught up. Who wants
progress of models gets the newest of that beside them, once it has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryResponse

from stigma_api import errors
from stigma_api.executions.model_progress import ProgressPoll, Written

MAX_BEHIND = 1000
"""Events that a follower who had caught up may be behind the newest."""

_MAX_KEPT_BYTES = 4 * 1024 * 1024
_RETRY_AFTER = timedelta(seconds=1)

Page = GetWorkflowExecutionHistoryResponse
ReadPage = Callable[[str, str, bytes], Awaitable[Page]]
"""Reads a page of a run (workflow id, run id, token); at the history's end it waits for more."""
ReadProgress = Callable[[str, str], Awaitable[Written | None]]
"""Reads what the model call that a run (workflow id, run id) waits for has written."""


class RunTails:
    """Follows runs.

    Args:
        read_page: reads their histories.
        read_progress: reads the progress of their models.
    """

    def __init__(self, read_page: ReadPage, read_progress: ReadProgress) -> None:
        self._read_page = read_page
        self._read_progress = read_progress
        self._tails: dict[tuple[str, str], _Tail] = {}

    async def follow(
        self, workflow_id: str, run_id: str, *, with_progress: bool = False
    ) -> AsyncGenerator[Sequence[HistoryEvent] | Written, None]:
        """Yield every event of a run, some at a time, waiting for those to come until it closes.

        Args:
            workflow_id: the workflow.
            run_id: its run.
            with_progress: yield also what its model has written, whenever that is newer.

        Raises:
            ApiError: as reading a page; RESOURCE_EXHAUSTED, too far behind the others.
        """
        key = workflow_id, run_id
        tail = self._tails.get(key)
        if tail is None:
            progress = ProgressPoll(lambda: self._read_progress(*key))
            tail = _Tail(lambda token: self._read_page(*key, token), progress)
            self._tails[key] = tail
        tail.followers += 1
        if with_progress:
            tail.progress.join()
        try:
            async with aclosing(self._follow(tail, with_progress)) as updates:
                async for update in updates:
                    yield update
        finally:
            if with_progress:
                tail.progress.leave()
            tail.followers -= 1
            if not tail.followers:
                tail.stop()
                del self._tails[key]

    async def _follow(
        self, tail: _Tail, with_progress: bool
    ) -> AsyncGenerator[Sequence[HistoryEvent] | Written, None]:
        last, token, has_caught_up = 0, b"", False
        seen: Written | None = None
        while not (tail.is_closed and last >= tail.last):
            if tail.has_next(last):
                has_caught_up = True
                events = tail.after(last)
                if not events:
                    newest = tail.progress.newest if with_progress else None
                    if newest is not None and newest is not seen:
                        seen = newest
                        yield newest
                    elif with_progress:
                        await tail.extend_or_progress(seen)
                    else:
                        await tail.extend()
                    continue
            elif has_caught_up and tail.last - last > MAX_BEHIND:
                message = f"the watch is more than {MAX_BEHIND} events behind: go on by its cursor"
                raise errors.resource_exhausted(message, _RETRY_AFTER)
            else:
                page = await tail.read_page(token)
                events = [event for event in page.history.events if event.event_id > last]
                token = page.next_page_token
            if events:
                last = events[-1].event_id
                yield events


@dataclass
class _Tail:
    """The newest events of one run."""

    read_page: Callable[[bytes], Awaitable[Page]]
    progress: ProgressPoll
    followers: int = 0
    last: int = 0
    """Id of the newest event that was read."""
    is_closed: bool = False
    """Whether that is the run's last."""
    _first: int = 1
    """Id of the oldest event that is kept, or that would be."""
    _pages: deque[Sequence[HistoryEvent]] = field(default_factory=deque)
    _token: bytes = b""
    _reading: asyncio.Task[None] | None = None

    def has_next(self, last: int) -> bool:
        """Return whether the event after this one is kept, or is the next to be read."""
        return last >= self._first - 1

    def after(self, last: int) -> Sequence[HistoryEvent]:
        """Return the kept events after one."""
        return [event for page in self._pages for event in page if event.event_id > last]

    async def extend(self) -> None:
        """Wait until more was read, which is done once for all who wait."""
        await asyncio.shield(self._begin_reading())

    async def extend_or_progress(self, seen: Written | None) -> None:
        """Wait until more was read, or there is newer progress than what a follower has seen."""
        reading = self._begin_reading()
        newer = asyncio.create_task(self.progress.wait_newer(seen))
        try:
            await asyncio.wait({reading, newer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            newer.cancel()
        if reading.done():
            reading.result()

    def stop(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()

    def _begin_reading(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(_retrieve)
        return self._reading

    async def _read(self) -> None:
        page = await self.read_page(self._token)
        self._token = page.next_page_token
        self.is_closed = not self._token
        for event in page.history.events:
            self.progress.note(event)
        if page.history.events:
            self._pages.append(list(page.history.events))
            self.last = page.history.events[-1].event_id
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Keep what is not too much, and the newest page in any case."""
        count = size = 0
        for kept, page in enumerate(reversed(self._pages)):
            count += len(page)
            size += sum(event.ByteSize() for event in page)
            if kept and (count > MAX_BEHIND or size > _MAX_KEPT_BYTES):
                while len(self._pages) > kept:
                    self._pages.popleft()
                break
        self._first = self._pages[0][0].event_id


def _retrieve(reading: asyncio.Task[None]) -> None:
    """Take note of an error that nobody waits for any more."""
    if not reading.cancelled():
        reading.exception()
