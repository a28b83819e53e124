"""The oldest open executions.

Temporal lists the newest first, and refuses ORDER BY. So a cutoff time before which about as many
were started as are wanted is found by bisection: counting costs little.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client

from stigma.contracts import search_attributes
from stigma_api.access.principals import Principal
from stigma_api.kinds import KINDS
from stigma_api.temporal.calls import temporal_call
from stigma_api.temporal.clock import TemporalClock
from stigma_api.temporal.visibility import quoted

# Age that no open execution has; so many bisections of it come down to milliseconds.
_MAX_AGE = timedelta(days=400)
_BISECTION_STEPS = 36
_PHASE = search_attributes.PHASE.name
_WAITING = f"{_PHASE} = 'INPUT_REQUIRED'"
# Open executions have no phase in general; one whose failure is not delivered yet has.
_BUSY = f"({_PHASE} IS NULL OR {_PHASE} != 'INPUT_REQUIRED')"


class OpenExecutions:
    """Lists the open executions of one task queue."""

    def __init__(self, client: Client, task_queue: str, clock: TemporalClock) -> None:
        self._client = client
        self._clock = clock
        self._task_queue = task_queue

    async def oldest(
        self, principal: Principal, min_age: timedelta, limit: int
    ) -> tuple[list[str], int]:
        """Return the ids of the oldest ones of at least an age, and how many are open of any age.

        Those that the principal may not see do not count. Those that wait for people are listed
        where there is room: they may be many and old, and are not stuck.

        Raises:
            ApiError: UNAVAILABLE; Temporal does not answer.
        """
        query, before = self._query(principal), self._clock.now() - min_age
        ids, total = await self._oldest(f"{query} AND {_BUSY}", before, limit)
        room = limit - len(ids)
        waiting, total_waiting = await self._oldest(f"{query} AND {_WAITING}", before, room)
        return [*ids, *waiting], total + total_waiting

    async def _oldest(self, query: str, before: datetime, limit: int) -> tuple[list[str], int]:
        total = await self._count(query)
        if not total or not limit:
            return [], total
        if await self._count(_until(query, before)) > limit:
            before = await self._cutoff_time(query, before, limit)
        return await self._list(_until(query, before), limit), total

    async def _cutoff_time(self, query: str, latest: datetime, limit: int) -> datetime:
        """Return a time up to which no more were started than the limit, or hardly more."""
        earliest = latest - _MAX_AGE
        for _ in range(_BISECTION_STEPS):
            middle = earliest + (latest - earliest) / 2
            count = await self._count(_until(query, middle))
            if limit // 2 < count <= limit:
                return middle
            earliest, latest = (middle, latest) if count <= limit else (earliest, middle)
        return latest

    async def _count(self, query: str) -> int:
        async with temporal_call():
            reply = await self._client.workflow_service.count_workflow_executions(
                CountWorkflowExecutionsRequest(namespace=self._client.namespace, query=query),
                retry=True,
            )
        return reply.count

    async def _list(self, query: str, limit: int) -> list[str]:
        async with temporal_call():
            reply = await self._client.workflow_service.list_workflow_executions(
                ListWorkflowExecutionsRequest(
                    namespace=self._client.namespace, page_size=limit, query=query
                ),
                retry=True,
            )
        return [info.execution.workflow_id for info in reply.executions]

    def _query(self, principal: Principal) -> str:
        types = ", ".join(quoted(kind.workflow_type) for kind in KINDS)
        conditions = [
            f"WorkflowType IN ({types})",
            f"TaskQueue = {quoted(self._task_queue)}",
            "CloseTime IS NULL",
        ]
        if not principal.is_admin:
            conditions.append(f"{search_attributes.PRINCIPAL.name} = {quoted(principal.name)}")
        return " AND ".join(conditions)


def _until(query: str, latest: datetime) -> str:
    time = latest.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{query} AND StartTime <= {quoted(time)}"
