"""The activity that watches a caller: is the outcome still wanted?

A look that finds the caller waiting ends the try without a slot or an event of history until the
next look. Where the activity has a heartbeat timeout, its worker keeps it: it goes pending, and the
worker looks at all the callers that it keeps. Else it fails, benignly, with the delay of its next
try.
"""

from __future__ import annotations

from datetime import datetime

from temporalio import activity
from typing_extensions import override

from stigma.contracts.activities import WATCH_CALLER, CallerWatchActivities
from stigma.internal.v1.execution_pb2 import WatchCallerRequest, WatchCallerResponse
from stigma_orchestrator.delivery.caller_look import CallerLooks
from stigma_orchestrator.delivery.kept_watches import KeptWatches, try_again


class CallerWatcher(CallerWatchActivities):
    """Watches the callers of executions that take long."""

    def __init__(self, looks: CallerLooks, kept: KeptWatches) -> None:
        self._looks = looks
        self._kept = kept

    @override
    @activity.defn(name=WATCH_CALLER)
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        info = activity.info()
        before = _lost_since(info)
        # By Temporal's clock, as the tries before.
        look = await self._looks.look(request, info.started_time, before)
        if look.verdict is not None:
            return WatchCallerResponse(verdict=look.verdict)
        if info.heartbeat_timeout and self._kept.keep(request, info, look):
            activity.raise_complete_async()
        if look.lost_since != before:
            # An activity keeps nothing for its next try but its heartbeat's details.
            activity.heartbeat(look.lost_since.isoformat() if look.lost_since else "")
        raise try_again(look.delay, look.why)


def _lost_since(info: activity.Info) -> datetime | None:
    recorded = next(iter(info.heartbeat_details), None)
    return datetime.fromisoformat(recorded) if recorded else None
