"""The watch over callers on the workflow side: is the outcome still wanted?

A short execution never pays for it: the first check comes after a while. Between two looks no slot
is held and no history is written: the activity is pending, or waits for its next try.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from stigma.contracts.activities import CallerWatchActivities
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    Bind,
    CallerVerdict,
    WatchCallerRequest,
)
from stigma_orchestrator.delivery.bindings import Bindings
from stigma_orchestrator.delivery.caller_timeouts import first_check, watch_heartbeat_timeout

_CHECK_TIMEOUT = timedelta(seconds=15)
# The activity itself sets the delay of its next attempt; this holds after a lost worker.
_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=5),
    backoff_coefficient=1.0,
    maximum_interval=timedelta(minutes=5),
)


@dataclass(frozen=True)
class _Check:
    """A check of one attempt; its task returns 0 when it ended without a verdict."""

    bind: Bind
    task: asyncio.Task[CallerVerdict.ValueType]

    def verdict(self) -> CallerVerdict.ValueType | None:
        if not self.task.done() or self.task.cancelled():
            return None
        return self.task.result() or None


class CallerWatch:
    """One check after another of the newest attempt of each activity that waits."""

    def __init__(
        self, execution_id: str, request_id: str, bindings: Bindings, queues: TaskQueues
    ) -> None:
        self._execution_id = execution_id
        self._request_id = request_id
        self._bindings = bindings
        self._queues = queues
        self._checks: dict[str, _Check] = {}
        self._since = workflow.now()

    def due(self) -> datetime | None:
        """Return when to call `start_due` next; None while every check runs or nothing waits."""
        bound = self._bindings.newest_by_activity().items()
        times = (self._due(activity, bind) for activity, bind in bound)
        return min((time for time in times if time is not None), default=None)

    def start_due(self, deadline: datetime) -> None:
        """Start the checks that are due and cancel those of older attempts."""
        bound = self._bindings.newest_by_activity()
        for activity in [known for known in self._checks if known not in bound]:
            self._checks.pop(activity).task.cancel()
        for activity, bind in bound.items():
            due = self._due(activity, bind)
            if due is None or due > workflow.now():
                continue
            if activity in self._checks:
                self._checks[activity].task.cancel()
            task = asyncio.create_task(self._run_check(bind, deadline))
            self._checks[activity] = _Check(bind, task)

    def stop(self) -> None:
        """Cancel the checks that run, if any."""
        for check in self._checks.values():
            check.task.cancel()
        self._checks.clear()

    def verdict(self) -> CallerVerdict.ValueType | None:
        """Return the verdict on the caller, None while it waits.

        One activity that requests cancellation is enough; the caller is gone when all are.
        """
        if self.cancel_requesters():
            return CallerVerdict.CALLER_VERDICT_CANCEL_REQUESTED
        gone = CallerVerdict.CALLER_VERDICT_GONE
        verdicts = self._verdicts().values()
        if verdicts and all(verdict == gone for verdict in verdicts):
            return gone
        return None

    def cancel_requesters(self) -> frozenset[str]:
        """Return the ids of the activities that requested their cancellation."""
        requested = CallerVerdict.CALLER_VERDICT_CANCEL_REQUESTED
        verdicts = self._verdicts().items()
        return frozenset(activity for activity, verdict in verdicts if verdict == requested)

    def _verdicts(self) -> dict[str, CallerVerdict.ValueType | None]:
        """Return the verdict on the newest attempt of each activity, None while it waits."""
        verdicts: dict[str, CallerVerdict.ValueType | None] = {}
        for activity, bind in self._bindings.newest_by_activity().items():
            check = self._checks.get(activity)
            verdicts[activity] = check.verdict() if check and check.bind is bind else None
        return verdicts

    def _due(self, activity: str, bind: Bind) -> datetime | None:
        check = self._checks.get(activity)
        if check is None:
            return self._since + first_check(bind.caller)
        return None if check.bind is bind else workflow.now()

    async def _run_check(self, bind: Bind, deadline: datetime) -> CallerVerdict.ValueType:
        request = WatchCallerRequest(
            execution_id=self._execution_id, request_id=self._request_id, binding=bind
        )
        left = max(deadline - workflow.now(), _CHECK_TIMEOUT)
        heartbeat_timeout = watch_heartbeat_timeout(bind.caller)
        try:
            response = await workflow.execute_activity_method(
                CallerWatchActivities.watch_caller,
                request,
                task_queue=self._queues.watch,
                start_to_close_timeout=left if heartbeat_timeout else _CHECK_TIMEOUT,
                schedule_to_close_timeout=left,
                heartbeat_timeout=heartbeat_timeout,
                retry_policy=_RETRY,
            )
        except ActivityError:
            # Out of time or out of order: the deadline decides, not the watch.
            ids = {"execution_id": self._execution_id, "request_id": self._request_id}
            workflow.logger.info("caller_watch_ended", extra=ids)
            return CallerVerdict.CALLER_VERDICT_UNSPECIFIED
        return response.verdict
