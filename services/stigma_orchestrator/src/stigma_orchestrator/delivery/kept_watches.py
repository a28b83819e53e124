"""The watches that a worker keeps: pending activities, and the callers that they watch.

One loop looks at the callers, the longest due first, and sends the heartbeats of the watches
themselves: another worker takes over what this one leaves behind. A slow or failing Temporal delays
looks; they never pile up.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

import structlog
from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, AsyncActivityHandle, Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from stigma.internal.v1.execution_pb2 import CallerVerdict, WatchCallerRequest, WatchCallerResponse
from stigma_orchestrator.delivery.caller_look import CallerLooks, Look
from stigma_orchestrator.delivery.watch_schedule import WatchSchedule

_RPC_TIMEOUT = timedelta(seconds=5)
_RETRY_SECONDS = 5.0
_RELEASE_SECONDS = 5.0
"""Within which watches that are given up begin again elsewhere, so that they do not bunch."""


def try_again(delay: timedelta, why: str) -> ApplicationError:
    """Return the failure that has a watch tried again after a delay."""
    return ApplicationError(
        why,
        type="CALLER_WAITING",
        next_retry_delay=delay,
        category=ApplicationErrorCategory.BENIGN,
    )


@dataclass(eq=False)
class _Watch:
    """A pending activity and what it watches."""

    token: bytes
    request: WatchCallerRequest
    began_at: datetime
    """By Temporal's clock."""
    began: float
    """By the monotonic clock."""
    schedule: WatchSchedule
    lost_since: datetime | None = None

    def now(self) -> datetime:
        """Return the time by Temporal's clock."""
        return self.began_at + timedelta(seconds=time.monotonic() - self.began)

    def looked(self, look: Look) -> None:
        """Plan the next look."""
        self.lost_since = look.lost_since
        self.schedule.looked(time.monotonic(), look.delay.total_seconds())


class KeptWatches:
    """Keeps watches until they end; a component of the service.

    Args:
        client: of the namespace that the watches are in.
        looks: looks at callers.
        most: how many watches are kept.
        at_a_time: how many are attended to at a time.
    """

    name = "kept-watches"

    def __init__(self, client: Client, looks: CallerLooks, *, most: int, at_a_time: int) -> None:
        self._client = client
        self._looks = looks
        self._most = most
        self._at_a_time = at_a_time
        self._kept: set[_Watch] = set()
        self._by_due: list[tuple[float, int, _Watch]] = []
        self._numbers = count()
        self._changed = asyncio.Event()
        self._is_open = False
        self._loop: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, request: WatchCallerRequest, info: activity.Info, look: Look) -> bool:
        """Keep the watch of a running activity, which then goes pending.

        Returns:
            False where it is not kept: there are too many, or no loop runs.
        """
        if not self._is_open or len(self._kept) >= self._most or not info.heartbeat_timeout:
            return False
        now = time.monotonic()
        schedule = WatchSchedule(info.heartbeat_timeout.total_seconds(), began=now)
        watch = _Watch(info.task_token, request, info.started_time, now, schedule)
        watch.looked(look)
        self._kept.add(watch)
        self._push(watch)
        return True

    async def run(self) -> None:
        """Attend to what is due, for ever."""
        slots = asyncio.Semaphore(self._at_a_time)

        async def attend(watch: _Watch) -> None:
            try:
                if await self._attend(watch):
                    self._push(watch)
                else:
                    self._kept.discard(watch)
            finally:
                slots.release()

        self._is_open = True
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await slots.acquire()
                    group.create_task(attend(await self._next()))
        finally:
            self._is_open = False

    async def start(self) -> None:
        """Begin to keep watches."""
        self._loop = asyncio.create_task(self.run())

    async def stop(self, grace: timedelta) -> None:
        """Give all watches to other workers: as many as can be told within the grace."""
        if self._loop is None:
            return
        self._loop.cancel()
        await asyncio.wait([self._loop])
        left = list(self._kept)
        released = 0

        async def release() -> None:
            nonlocal released
            while left:
                delay = timedelta(seconds=random.uniform(1, _RELEASE_SECONDS))  # noqa: S311
                with suppress(RPCError):  # its heartbeat timeout gives it away then
                    await self._handle(left.pop()).fail(
                        try_again(delay, "released"), rpc_timeout=_RPC_TIMEOUT
                    )
                    released += 1

        with suppress(TimeoutError):
            async with asyncio.timeout(grace.total_seconds()), asyncio.TaskGroup() as group:
                for _ in range(self._at_a_time):
                    group.create_task(release())
        if self._kept:
            self._log.info("watches_released", watches=len(self._kept), released=released)

    async def wait_failed(self) -> None:
        """Raise when the loop has ended by itself."""
        if self._loop is not None:
            await asyncio.shield(self._loop)

    def _push(self, watch: _Watch) -> None:
        heapq.heappush(self._by_due, (watch.schedule.due(), next(self._numbers), watch))
        self._changed.set()

    async def _next(self) -> _Watch:
        """Wait for the watch that is due first, until it is due."""
        while True:
            self._changed.clear()
            seconds = self._by_due[0][0] - time.monotonic() if self._by_due else None
            if seconds is not None and seconds <= 0:
                return heapq.heappop(self._by_due)[2]
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()

    async def _attend(self, watch: _Watch) -> bool:
        """Do what is due; return whether the watch goes on.

        The look comes first: the caller then outlives a watch whose worker is lost.
        """
        if watch.schedule.needs_look(time.monotonic()):
            look = await self._looks.look(watch.request, watch.now(), watch.lost_since)
            watch.looked(look)
            if look.verdict is not None and await self._complete(watch, look.verdict):
                return False
        return not watch.schedule.needs_beat() or await self._beat(watch)

    async def _beat(self, watch: _Watch) -> bool:
        """Send the watch's own heartbeat; return whether it is still wanted."""
        handle = self._handle(watch)
        details = [watch.lost_since.isoformat()] if watch.lost_since else []
        try:
            await handle.heartbeat(*details, rpc_timeout=_RPC_TIMEOUT)
        except AsyncActivityCancelledError as cancelled:
            await self._let_go(handle, cancelled)
            return False
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            watch.schedule.retry_beat(time.monotonic() + _RETRY_SECONDS)
            return True
        watch.schedule.beaten(time.monotonic())
        return True

    async def _let_go(
        self, handle: AsyncActivityHandle, cancelled: AsyncActivityCancelledError
    ) -> None:
        """Answer a cancel; after a pause or a reset the watch is tried again."""
        details = cancelled.details
        with suppress(RPCError):  # it ends by its heartbeat timeout then
            if details is None or details.cancel_requested:
                await handle.report_cancellation(rpc_timeout=_RPC_TIMEOUT)
            else:
                again = try_again(timedelta(seconds=1), "paused or reset")
                await handle.fail(again, rpc_timeout=_RPC_TIMEOUT)

    async def _complete(self, watch: _Watch, verdict: CallerVerdict.ValueType) -> bool:
        """Tell the execution a verdict; return whether it knows it, or is gone itself."""
        response = WatchCallerResponse(verdict=verdict)
        try:
            await self._handle(watch).complete(response, rpc_timeout=_RPC_TIMEOUT)
        except RPCError as error:
            watch.schedule.look_due = time.monotonic() + _RETRY_SECONDS
            return error.status is RPCStatusCode.NOT_FOUND
        return True

    def _handle(self, watch: _Watch) -> AsyncActivityHandle:
        return self._client.get_async_activity_handle(task_token=watch.token)
