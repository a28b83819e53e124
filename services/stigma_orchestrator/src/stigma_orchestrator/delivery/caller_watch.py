"""Looks after the caller while the agent works (workflow side).

A short agent never pays for it: the first look comes after a while. Between two looks no slot is
held and no history is written, since a look that finds the caller waiting fails and is retried.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
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
from stigma_orchestrator.delivery.bindings import Bindings

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


@dataclass(frozen=True)
class _Look:
    """A look at one attempt; its result is 0 when it ended without a verdict."""

    bind: Bind
    task: asyncio.Task[CallerVerdict.ValueType]

    def verdict(self) -> CallerVerdict.ValueType | None:
        if not self.task.done() or self.task.cancelled():
            return None
        return self.task.result() or None


class CallerWatch:
    """One look after another at the newest attempt of each activity that waits."""

    def __init__(
        self, execution_id: str, request_id: str, bindings: Bindings, queues: TaskQueues
    ) -> None:
        self._execution_id = execution_id
        self._request_id = request_id
        self._bindings = bindings
        self._queues = queues
        self._looks: dict[str, _Look] = {}
        self._since = workflow.now()

    def due(self) -> datetime | None:
        """When to call `start` next, or None: every look is under way or nobody waits."""
        bound = self._bindings.by_activity().items()
        moments = (self._due(activity, bind) for activity, bind in bound)
        return min((moment for moment in moments if moment is not None), default=None)

    def start(self, deadline: datetime) -> None:
        """Start the looks that are due; those at older attempts end."""
        bound = self._bindings.by_activity()
        for activity in [known for known in self._looks if known not in bound]:
            self._looks.pop(activity).task.cancel()
        for activity, bind in bound.items():
            due = self._due(activity, bind)
            if due is None or due > workflow.now():
                continue
            if activity in self._looks:
                self._looks[activity].task.cancel()
            task = asyncio.create_task(self._watch(bind, deadline))
            self._looks[activity] = _Look(bind, task)

    def stop(self) -> None:
        """End the looks under way, if any."""
        for look in self._looks.values():
            look.task.cancel()
        self._looks.clear()

    def verdict(self) -> CallerVerdict.ValueType | None:
        """Return what became of the caller, once that is known.

        One activity that asks for cancellation is enough; only when all are gone, it is gone.
        """
        if self.asking():
            return CallerVerdict.CALLER_VERDICT_CANCEL_REQUESTED
        gone = CallerVerdict.CALLER_VERDICT_GONE
        verdicts = self._verdicts().values()
        if verdicts and all(verdict == gone for verdict in verdicts):
            return gone
        return None

    def asking(self) -> frozenset[str]:
        """Return the activities that asked for cancellation and wait for the answer."""
        asked = CallerVerdict.CALLER_VERDICT_CANCEL_REQUESTED
        found = self._verdicts().items()
        return frozenset(activity for activity, verdict in found if verdict == asked)

    def _verdicts(self) -> dict[str, CallerVerdict.ValueType | None]:
        """What is known of the newest attempt of each activity."""
        found = {}
        for activity, bind in self._bindings.by_activity().items():
            look = self._looks.get(activity)
            found[activity] = look.verdict() if look and look.bind is bind else None
        return found

    def _due(self, activity: str, bind: Bind) -> datetime | None:
        look = self._looks.get(activity)
        if look is None:
            return self._since + _first_look(bind)
        return None if look.bind is bind else workflow.now()

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
            ids = {"execution_id": self._execution_id, "request_id": self._request_id}
            workflow.logger.info("caller_watch_ended", extra=ids)
            return CallerVerdict.CALLER_VERDICT_UNSPECIFIED
        return response.verdict


def _first_look(bind: Bind) -> timedelta:
    """A quarter of the caller's heartbeat timeout: it must hear from us in time."""
    if bind.caller.HasField("heartbeat_timeout"):
        return min(_FIRST_LOOK, bind.caller.heartbeat_timeout.ToTimedelta() / 4)
    return _FIRST_LOOK_UNDECLARED
