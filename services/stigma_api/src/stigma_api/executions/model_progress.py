"""Text of models that are still writing: read from a run's pending activity, once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError

from stigma.agent.v1.agent_execution_service_pb2 import ModelProgress
from stigma.contracts.activities import MODEL_CALLS
from stigma.contracts.partial_text import read_details
from stigma_api.errors import ApiError
from stigma_api.temporal.calls import describe
from stigma_api.temporal.payloads import plain

_INTERVAL_SECONDS = 1.0
_ENDS = (
    "activity_task_completed_event_attributes",
    "activity_task_failed_event_attributes",
    "activity_task_timed_out_event_attributes",
    "activity_task_canceled_event_attributes",
)


@dataclass(frozen=True)
class Written:
    """What a model had written at a time, by Temporal's clock."""

    progress: ModelProgress
    time: Timestamp


async def read_progress(client: Client, workflow_id: str, run_id: str) -> Written | None:
    """Return what the model call that a run waits for has written; None without any text.

    Raises:
        ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED.
        RPCError: Temporal refused.
    """
    described = await describe(client, workflow_id, run_id)
    pending = described.pending_activities if described else ()
    call = next((each for each in pending if each.activity_type.name in MODEL_CALLS), None)
    if call is None:
        return None
    progress = read_details(await plain(client, call.heartbeat_details.payloads))
    # Until an attempt sends its first heartbeat, Temporal has the last one of the attempt before.
    if progress is None or progress.attempt != call.attempt:
        return None
    return Written(progress, call.last_heartbeat_time)


class ProgressPoll:
    """The newest progress of one run: read while somebody follows it and a model call is pending.

    Args:
        read: reads the progress.
    """

    def __init__(self, read: Callable[[], Awaitable[Written | None]]) -> None:
        self.newest: Written | None = None
        """None without a pending model call, too."""
        self._read = read
        self._calls: set[int] = set()
        """Pending model calls, by the events that scheduled them."""
        self._is_pending = asyncio.Event()
        self._changed = asyncio.Event()
        self._followers = 0
        self._polling: asyncio.Task[None] | None = None

    def note(self, event: HistoryEvent) -> None:
        """Take note of an event of the run: of each, in order."""
        name = event.WhichOneof("attributes") or ""
        if name == "activity_task_scheduled_event_attributes":
            if event.activity_task_scheduled_event_attributes.activity_type.name in MODEL_CALLS:
                self._calls.add(event.event_id)
                self._is_pending.set()
        elif name in _ENDS and self._calls:
            self._calls.discard(getattr(event, name).scheduled_event_id)
            if not self._calls:
                self._is_pending.clear()
                self.newest = None

    def join(self) -> None:
        """Poll from now on, if nobody did."""
        self._followers += 1
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())

    def leave(self) -> None:
        """Undo a `join`: the last one to leave ends the poll."""
        self._followers -= 1
        if not self._followers and self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def wait_newer(self, seen: Written | None) -> None:
        """Wait until there is progress that a follower has not seen."""
        while self.newest is None or self.newest is seen:
            await self._changed.wait()

    async def _poll(self) -> None:
        while True:
            await self._is_pending.wait()
            # If Temporal stays away, the followers' own reading of history says so.
            with suppress(ApiError, RPCError):
                self._take(await self._read())
            await asyncio.sleep(_INTERVAL_SECONDS)

    def _take(self, found: Written | None) -> None:
        """Keep what is new; nothing, where another attempt has begun or the call has ended."""
        if found is None or not self._calls:
            self.newest = None
        elif self.newest is None or self.newest.progress != found.progress:
            self.newest = found
            self._changed.set()
            self._changed = asyncio.Event()


class ProgressFilter:
    """What one watcher gets: progress of the call that is under way for it, each piece once."""

    def __init__(self) -> None:
        self._step = 0
        self._attempt = 0
        self._end = 0
        """Characters of the attempt that the watcher has, or has missed."""

    def call_started(self, step: int) -> None:
        """Let the progress of a step through."""
        self._step, self._attempt = step, 0

    def call_ended(self) -> None:
        """Let no more progress through: the whole answer is there, or none comes."""
        self._step = 0

    def new_part(self, progress: ModelProgress) -> ModelProgress | None:
        """Return what the watcher does not have yet; None for nothing."""
        if not self._step or progress.step != self._step:
            return None
        end = progress.offset + len(progress.text)
        known = self._end if progress.attempt == self._attempt else 0
        if end <= known:
            return None
        self._attempt, self._end = progress.attempt, end
        skipped = max(known - progress.offset, 0)
        return ModelProgress(
            step=progress.step,
            attempt=progress.attempt,
            offset=progress.offset + skipped,
            text=progress.text[skipped:],
        )
