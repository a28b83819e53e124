"""Numbers of executions by outcome, from Temporal's visibility."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
)
from temporalio.client import Client

from stigma.contracts import search_attributes
from stigma_api.temporal.calls import temporal_call

OPEN = "OPEN"
"""Stands for the phases of executions that have not ended."""

_OF_STATUS = {
    "Completed": "COMPLETED",
    "Failed": "FAILED",
    "Terminated": "FAILED",
    "Canceled": "CANCELLED",
    "TimedOut": "TIMED_OUT",
}
# Phases that an execution whose workflow has failed may be in: its search attribute says which.
_OF_FAILED = ("COMPLETED", "CANCELLED", "TIMED_OUT")
_MAX_CALLS = 6


class OutcomeCounter:
    """Counts what a visibility query finds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._calls = asyncio.Semaphore(_MAX_CALLS)

    async def count(self, query: str, edges: Sequence[datetime]) -> list[Mapping[str, int]]:
        """Return the number of each outcome between one edge and the next, by time of the start.

        Args:
            query: the executions.
            edges: increasing; one more than there are counts.

        Raises:
            ApiError: Temporal does not answer.
        """
        whole = f"{query}{_between(edges[0], edges[-1])} AND ExecutionStatus = 'Failed'"
        found = await asyncio.gather(*(self._total(_in_phase(whole, each)) for each in _OF_FAILED))
        deviating = [phase for phase, count in zip(_OF_FAILED, found, strict=True) if count]
        return list(
            await asyncio.gather(
                *(self._count(f"{query}{_between(*span)}", deviating) for span in pairwise(edges))
            )
        )

    async def _count(self, query: str, deviating: Sequence[str]) -> Mapping[str, int]:
        reply = await self._reply(f"{query} GROUP BY ExecutionStatus")
        counts: Counter[str] = Counter()
        for group in reply.groups:
            [status] = await self._client.data_converter.decode(group.group_values, [str])
            counts[_OF_STATUS.get(status, OPEN)] += group.count
        for phase in deviating:
            failed = _in_phase(f"{query} AND ExecutionStatus = 'Failed'", phase)
            count = await self._total(failed)
            counts[phase] += count
            counts["FAILED"] -= count
        return counts

    async def _total(self, query: str) -> int:
        return (await self._reply(query)).count

    async def _reply(self, query: str) -> CountWorkflowExecutionsResponse:
        request = CountWorkflowExecutionsRequest(namespace=self._client.namespace, query=query)
        async with self._calls, temporal_call():
            return await self._client.workflow_service.count_workflow_executions(
                request, retry=True
            )


def _in_phase(query: str, phase: str) -> str:
    return f"{query} AND {search_attributes.PHASE.name} = '{phase}'"


def _between(begin: datetime, end: datetime) -> str:
    return f" AND StartTime >= '{_time(begin)}' AND StartTime < '{_time(end)}'"


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
