"""Who polls a task queue: asked once a look, and told apart from workers that are busy."""

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

# A worker with room polls at least once a minute; Temporal remembers a poller for five.
_POLL = timedelta(seconds=70)


class Queues:
    """The queues of one look: each is described once, however many wait in it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._polls: dict[tuple[str, int], asyncio.Task[datetime | None]] = {}
        self._busy: set[str] = set()

    def busy(self, queue: str) -> None:
        """Note that a worker of this queue is at work: with all slots taken it polls no more."""
        self._busy.add(queue)

    async def is_deserted(
        self, queue: str, kind: TaskQueueType.ValueType, waits_since: datetime
    ) -> bool:
        """Return whether nobody serves what waits in a queue since then.

        A worker with room takes what waits at once. So, of one that has not asked since, it is
        dead, or it has no room, which others at work show.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        if queue in self._busy and kind == ACTIVITIES:
            return False
        polled = await self._last_poll(queue, kind)
        return polled is None or polled < waits_since or polled < datetime.now(UTC) - _POLL

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
