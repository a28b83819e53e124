"""The watch over the turn that has its place: is its workflow still there?

A short turn never pays for it: the first look comes after a while. Between two looks no slot is
held and no history is written, since a look that finds the turn running fails and is retried.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from stigma.contracts import limits
from stigma.contracts.activities import TurnWatchActivities
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.session_pb2 import QueuedTurn, WatchTurnRequest

_FIRST_LOOK = timedelta(seconds=2)
_LOOK_TIMEOUT = timedelta(seconds=15)
# The activity itself sets the delay of its next attempt; this holds after a lost worker.
_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=15),
)
# One after another: a turn that waits for people may take months.
_WATCH_TIMEOUT = timedelta(days=1)


class TurnWatch:
    """The watch over one turn, from its construction until it is stopped."""

    def __init__(self, turn: QueuedTurn, queues: TaskQueues) -> None:
        self._request = WatchTurnRequest(execution_id=turn.execution_id)
        start_by = turn.accept_time.ToDatetime(UTC) + limits.TURN_START_GRACE
        self._request.start_by.FromDatetime(start_by)
        # One that has been waited for long enough is looked for at once.
        self._first_look = (
            timedelta() if not turn.has_arrived and workflow.now() >= start_by else _FIRST_LOOK
        )
        self._queue = queues.watch
        self._task = asyncio.create_task(self._watch())

    @property
    def is_gone(self) -> bool:
        """Whether the turn's workflow is not there, or has closed."""
        return self._task.done() and not self._task.cancelled()

    def stop(self) -> None:
        """Look no more."""
        self._task.cancel()

    async def _watch(self) -> None:
        if self._first_look:
            await workflow.sleep(self._first_look)
        while not await self._look():
            pass

    async def _look(self) -> bool:
        """Look again and again; return False when a day is over."""
        try:
            await workflow.execute_activity_method(
                TurnWatchActivities.watch_turn,
                self._request,
                task_queue=self._queue,
                start_to_close_timeout=_LOOK_TIMEOUT,
                schedule_to_close_timeout=_WATCH_TIMEOUT,
                retry_policy=_RETRY,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            # Whatever ended it, the next one does not come at once.
            await workflow.sleep(_FIRST_LOOK)
            return False
        return True
