"""Stuck executions: open ones that make no progress, each with the reason and what helps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
    StuckExecution,
)
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.diagnosis.stuck.callers import WaitingCallers
from stigma_api.diagnosis.stuck.diagnoser import Diagnoser
from stigma_api.diagnosis.stuck.diagnosis import Diagnosis
from stigma_api.diagnosis.stuck.open_executions import OpenExecutions
from stigma_api.diagnosis.stuck.queues import Queues
from stigma_api.errors import ApiError
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.kinds import KINDS
from stigma_api.temporal.clock import TemporalClock

DEFAULT_MIN_AGE = timedelta(minutes=1)
DEFAULT_LIMIT = 200
MAX_LIMIT = 1000

# Scans at a time in this process: each is hundreds of calls to Temporal.
_MAX_SCANS = 3
_MAX_CONCURRENCY = 16
# Limit of each of the two phases of a scan: a person waits, and a part of the answer helps.
_SCAN_TIMEOUT = timedelta(seconds=6)

T = TypeVar("T")
R = TypeVar("R")


class StuckExecutions:
    """Finds executions that make no progress; asks Temporal, and none of our services."""

    def __init__(self, client: Client, queues: TaskQueues, clock: TemporalClock) -> None:
        self._client = client
        self._clock = clock
        self._queues = queues
        self._reader = Reader[Any](client, *KINDS)
        self._open = OpenExecutions(client, queues.orchestrator, clock)
        self._callers = WaitingCallers(client)
        self._scans = asyncio.Semaphore(_MAX_SCANS)

    async def list(
        self, principal: Principal, request: ListStuckExecutionsRequest
    ) -> ListStuckExecutionsResponse:
        """Return the stuck executions that the principal may see, oldest first.

        Waits while others scan; its caller limits for how long.

        Raises:
            ApiError: INVALID_ARGUMENT on `min_age` or `limit`; UNAVAILABLE, Temporal does not
                answer.
        """
        min_age, limit = _bounds(request)
        async with self._scans:
            return await self._scan(principal, min_age, limit)

    async def _scan(
        self, principal: Principal, min_age: timedelta, limit: int
    ) -> ListStuckExecutionsResponse:
        ids, total = await self._open.oldest(principal, min_age, limit)
        found = await _map_concurrently(ids, self._reader.find)
        descriptions = [each for each in found if each is not None and each.is_open]
        now = self._clock.now()
        queues = Queues(self._client, now)
        diagnoser = Diagnoser(self._client, self._queues, queues, self._callers, now)
        for description in descriptions:
            diagnoser.observe(description)

        async def diagnose(
            description: ExecutionDescription[Any],
        ) -> tuple[ExecutionDescription[Any], Diagnosis | None]:
            return description, await diagnoser.diagnose(description)

        diagnosed = await _map_concurrently(descriptions, diagnose)
        stuck = [_stuck(each, diagnosis) for each, diagnosis in diagnosed if diagnosis is not None]
        stuck.sort(key=lambda each: each.start_time.ToNanoseconds())
        reply = ListStuckExecutionsResponse(executions=stuck, examined=len(diagnosed), open=total)
        reply.time.FromDatetime(now)
        reply.clock_skew.FromTimedelta(self._clock.skew)
        return reply


def _bounds(request: ListStuckExecutionsRequest) -> tuple[timedelta, int]:
    given = request.HasField("min_age")
    try:
        min_age = request.min_age.ToTimedelta() if given else DEFAULT_MIN_AGE
    except (ValueError, OverflowError):
        raise errors.invalid_argument([("min_age", "is out of range")]) from None
    if not timedelta() <= min_age <= timedelta(days=366):
        raise errors.invalid_argument([("min_age", "is from 0 s to a year")])
    limit = request.limit or DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise errors.invalid_argument([("limit", f"is from 1 to {MAX_LIMIT}")])
    return min_age, limit


def _stuck(description: ExecutionDescription[Any], diagnosis: Diagnosis) -> StuckExecution:
    stuck = StuckExecution(
        execution_id=description.execution_id,
        definition_id=description.definition_id,
        start_time=description.start_time,
        reason=diagnosis.reason,
        message=diagnosis.message,
        command=diagnosis.command,
    )
    if description.execution.status.HasField("deadline"):
        stuck.deadline.CopyFrom(description.execution.status.deadline)
    return stuck


async def _map_concurrently(items: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Return the results of a few calls at a time, as far as they come in time.

    Raises:
        ApiError, RPCError: every call failed.
    """
    slots = asyncio.Semaphore(_MAX_CONCURRENCY)

    async def one(item: T) -> R:
        async with slots:
            return await work(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, timeout=_SCAN_TIMEOUT.total_seconds())
    finally:
        for task in tasks:
            task.cancel()
    results, failures = [], []
    for task in tasks:
        if task not in done:
            continue
        try:
            results.append(task.result())
        except (ApiError, RPCError) as error:
            failures.append(error)
    if failures and not results:
        raise failures[0]
    return results
