"""Looks after the caller while the agent works (workflow side).

A short agent never pays for it: the first look comes after a while. Between two looks no slot is
held and no history is written, since a look that finds the caller waiting fails and is retried.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from stigma.contracts.activities import CallbackActivities
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    Bind,
    CallerVerdict,
    WatchCallerRequest,
)
from stigma_orchestrator.bindings import Bindings

_FIRST_LOOK = timedelta(seconds=10)
# Its heartbeat timeout is not known yet, and may be short: the first look finds out.
_FIRST_LOOK_UNDECLARED = timedelta(seconds=2)
_LOOK_TIMEOUT = timedelta(seconds=15)
# The activity says itself when to look again; this holds after a lost worker.
_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=5),
    backoff_coefficient=1.0,
    maximum_interval=timedelta(minutes=5),
)


class CallerWatch:
    """One look after another at the newest binding, until it has a verdict."""

    def __init__(
        self, execution_id: str, request_id: str, bindings: Bindings, queues: TaskQueues
    ) -> None:
        self._execution_id = execution_id
        self._request_id = request_id
        self._bindings = bindings
        self._queues = queues
        self._watched: Bind | None = None
        self._look: asyncio.Task[CallerVerdict.ValueType] | None = None
        self._since = workflow.now()

    def due(self) -> datetime | None:
        """When to call `start` next, or None: a look is under way or nobody waits."""
        newest = self._bindings.newest
        if newest is None or (self._look is not None and newest is self._watched):
            return None
        if self._look is not None:
            return workflow.now()
        return self._since + _first_look(newest)

    def start(self, deadline: datetime) -> None:
        """Start to look at the newest binding; an older look ends."""
        self.stop()
        newest = self._bindings.newest
        if newest is not None:
            self._watched = newest
            self._look = asyncio.create_task(self._watch(newest, deadline))

    def stop(self) -> None:
        """End the look under way, if any."""
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def verdict(self) -> CallerVerdict.ValueType | None:
        """Return what became of the caller, once that is known for the newest binding."""
        look = self._look
        if look is None or not look.done() or look.cancelled():
            return None
        if self._watched is not self._bindings.newest:
            return None
        return look.result() or None

    async def _watch(self, bind: Bind, deadline: datetime) -> CallerVerdict.ValueType:
        request = WatchCallerRequest(
            execution_id=self._execution_id, request_id=self._request_id, binding=bind
        )
        try:
            response = await workflow.execute_activity_method(
                CallbackActivities.watch_caller,
                request,
                task_queue=self._queues.watch,
                start_to_close_timeout=_LOOK_TIMEOUT,
                schedule_to_close_timeout=max(deadline - workflow.now(), _LOOK_TIMEOUT),
                retry_policy=_RETRY,
            )
        except ActivityError:
            # Out of time or out of order: the deadline decides, not the watch.
            workflow.logger.info("watch over the caller ended without a verdict")
            return CallerVerdict.CALLER_VERDICT_UNSPECIFIED
        return response.verdict


def _first_look(bind: Bind) -> timedelta:
    """A quarter of the caller's heartbeat timeout: it must hear from us in time."""
    if bind.caller.HasField("heartbeat_timeout"):
        return min(_FIRST_LOOK, bind.caller.heartbeat_timeout.ToTimedelta() / 4)
    return _FIRST_LOOK_UNDECLARED
