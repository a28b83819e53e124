"""Task queues without a worker, told apart from those whose workers are busy."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from stigma_api.temporal.calls import temporal_call

WORKFLOWS = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITIES = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY

# Age of a poll that counts: a worker with room polls at least once a minute.
_MAX_POLL_AGE = timedelta(seconds=70)


class Queues:
    """The queues of one scan: each is described once, however many wait in it."""

    def __init__(self, client: Client, now: datetime) -> None:
        self._client = client
        self._now = now
        self._polls: dict[tuple[str, int], asyncio.Task[datetime | None]] = {}
        self._busy: set[str] = set()

    def mark_busy(self, queue: str) -> None:
        """Note that a worker of this queue is at work: with all slots taken it polls no more."""
        self._busy.add(queue)

    async def has_no_worker(
        self, queue: str, kind: TaskQueueType.ValueType, waits_since: datetime
    ) -> bool:
        """Return whether no worker serves a queue in which a task waits since then.

        A worker with room takes a task at once. One that has not polled since is dead, or has no
        room: `mark_busy` says so.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        if queue in self._busy and kind == ACTIVITIES:
            return False
        polled = await self._last_poll(queue, kind)
        return polled is None or polled < waits_since or polled < self._now - _MAX_POLL_AGE

    async def _last_poll(self, queue: str, kind: TaskQueueType.ValueType) -> datetime | None:
        if (queue, kind) not in self._polls:
            asking = asyncio.create_task(self._describe(queue, kind))
            self._polls[queue, kind] = asking
        return await asyncio.shield(self._polls[queue, kind])

    async def _describe(self, queue: str, kind: TaskQueueType.ValueType) -> datetime | None:
        async with temporal_call():
            described = await self._client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=self._client.namespace,
                    task_queue=TaskQueue(name=queue),
                    task_queue_type=kind,
                ),
                retry=True,
            )
        polls = [poller.last_access_time.ToDatetime(UTC) for poller in described.pollers]
        return max(polls, default=None)
