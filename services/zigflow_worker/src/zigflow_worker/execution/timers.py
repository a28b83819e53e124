"""Timers of branches, inside one Temporal workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from zigflow_worker.activities.interfaces import EngineActivities
from zigflow_worker.changes import FEW_SHORT_WAITS, SHORT_WAITS
from zigflow_worker.execution.named_timers import call_later
from zigflow_worker.execution.short_waits import SLACK_SECONDS, ShortWaits
from zigflow_worker.program.model import Branch, Timer

_SHORTEST_TIMER = 0.001
_SHORT_WAIT = 1.0
"""Seconds below which a wait is an activity: no timer of a Temporal server fires sooner."""
_SHORT_WAIT_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=2)
)


class Timers:
    """Starts and cancels them, one at a time for each branch.

    Args:
        fired: is called with a branch whose time has come, and that has no timer any more.
    """

    def __init__(self, fired: Callable[[Branch], None]) -> None:
        self._fired = fired
        self._loop = asyncio.get_running_loop()
        self._short_waits = ShortWaits()

    def set(self, branch: Branch, until: float | None, summary: str) -> None:
        """Have a branch's time come then, in seconds of the loop's clock; None is never.

        A timer for the same time goes on. A new one has the summary.
        """
        timer = branch.timer
        if timer is not None and timer[0] != until:
            self.cancel(branch)
        if until is not None and branch.timer is None:
            delay = max(until - self._loop.time(), _SHORTEST_TIMER)
            branch.timer = (until, self._start(branch, delay, summary))

    def cancel(self, branch: Branch) -> None:
        """Cancel the timer of a branch, if it has one."""
        if branch.timer is not None:
            branch.timer[1].cancel()
            branch.timer = None

    def _start(self, branch: Branch, delay: float, summary: str) -> Timer:
        if delay < _SHORT_WAIT - _SHORTEST_TIMER and workflow.patched(SHORT_WAITS):
            many = self._short_waits.are_many(self._loop.time())
            if not many or not workflow.patched(FEW_SHORT_WAITS):
                wait = self._loop.create_task(self._wait_exactly(branch, delay, summary))
                self._short_waits.add(wait)
                return wait
        return call_later(delay, self._fire, branch, summary=summary)

    async def _wait_exactly(self, branch: Branch, delay: float, summary: str) -> None:
        timer = asyncio.current_task()
        try:
            await workflow.execute_activity_method(
                EngineActivities.wait_exactly,
                delay,
                start_to_close_timeout=timedelta(seconds=delay + SLACK_SECONDS),
                retry_policy=_SHORT_WAIT_RETRIES,
                cancellation_type=workflow.ActivityCancellationType.ABANDON,
                summary=summary,
            )
        except ActivityError:  # cancelled: nothing waits for it any more
            self._short_waits.abandon(self._loop.time(), delay)
        if branch.timer is not None and branch.timer[1] is timer:
            self._fire(branch)

    def _fire(self, branch: Branch) -> None:
        branch.timer = None
        self._fired(branch)
