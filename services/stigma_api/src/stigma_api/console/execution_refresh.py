"""One execution as it changes: looked at whenever something happens to it, and never too often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc

from stigma.contracts.executions import Execution
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    TIMELINE_STEP_CALLER_ENDED,
    TIMELINE_STEP_ENDED,
    TIMELINE_STEP_RESUMED,
    ExecutionTimeline,
)
from stigma_api.access.principals import Principal
from stigma_api.console.api import Api, newest_run
from stigma_api.console.views import ExecutionView, view
from stigma_api.errors import ApiError

# What has no event of its own (an attempt that failed, a worker that is not there) shows so late.
_REFRESH_SECONDS = 5.0
_LEAST_SECONDS = 1.0
_REST = 3
_SOON = timedelta(seconds=10)
# A caller whose workers are away goes on when they are back; nobody waits for that for ever.
_RESUMED_WITHIN = timedelta(minutes=10)
_WENT_ON = {TIMELINE_STEP_RESUMED, TIMELINE_STEP_CALLER_ENDED}


@dataclass(frozen=True)
class Look:
    """What there is to see of an execution at one time."""

    shown: ExecutionView
    timeline: ExecutionTimeline

    @property
    def is_settled(self) -> bool:
        """Whether the page will not change any more: it ended, and its caller went on."""
        shown, timeline = self.shown, self.timeline
        if not shown.has_ended or shown.end is None:
            return False  # while it closes, it has ended in its own words and not in Temporal's
        if _since(shown.end) > _RESUMED_WITHIN:
            return True
        steps = {entry.step for entry in timeline.entries}
        nobody = shown.caller is None or timeline.caller_unavailable
        return TIMELINE_STEP_ENDED in steps and bool(nobody or steps & _WENT_ON)

    @property
    def is_settling(self) -> bool:
        """Whether it has just ended, so that the rest follows soon."""
        return self.shown.end is not None and _since(self.shown.end) < _SOON


class Following:
    """Looks at executions."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def look(self, principal: Principal, execution_id: str) -> Look:
        """Return an execution as it stands."""
        execution: Execution
        execution, timeline = await asyncio.gather(
            self._api.execution(principal, execution_id),
            self._api.timeline(principal, execution_id),
        )
        return Look(view(execution), timeline)

    async def looks(self, principal: Principal, execution_id: str) -> AsyncGenerator[Look, None]:
        """Yield an execution now, and whenever something has happened, until it is settled."""
        news = asyncio.Event()
        watching: asyncio.Task[None] | None = None
        try:
            while True:
                began = time.monotonic()
                news.clear()
                look = await self.look(principal, execution_id)
                yield look
                if look.is_settled:
                    return
                if watching is None:
                    # From what is seen on, not from the start: a long story has many runs.
                    begin = newest_run(look.timeline)
                    watching = asyncio.create_task(
                        self._watch(principal, execution_id, begin, news)
                    )
                pause = rest(began, _LEAST_SECONDS)
                await asyncio.sleep(pause)
                if not look.is_settling:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_REFRESH_SECONDS - pause):
                            await news.wait()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _watch(
        self, principal: Principal, execution_id: str, cursor: str, news: asyncio.Event
    ) -> None:
        while True:
            try:
                happening = self._api.happenings(principal, execution_id, cursor)
                async with aclosing(happening) as happenings:
                    async for reached in happenings:
                        cursor = reached
                        news.set()
            except ApiError as error:
                if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                    cursor = ""  # past retention meanwhile
                await asyncio.sleep(_REFRESH_SECONDS)
            else:
                return


def rest(began: float, least: float) -> float:
    """Return how long to leave alone what was looked at: what takes long is looked at rarely.

    Args:
        began: when the look that is done now began, of the monotonic clock.
        least: seconds.
    """
    return max(least, _REST * (time.monotonic() - began))


def _since(moment: datetime) -> timedelta:
    return datetime.now(UTC) - moment
