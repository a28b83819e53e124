"""The open executions that do not get on, each with the reason and what helps."""

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
from stigma_api.diagnosis.stuck.callers import StuckCallers
from stigma_api.diagnosis.stuck.listing import OpenExecutions
from stigma_api.diagnosis.stuck.queues import Queues
from stigma_api.diagnosis.stuck.reasons import Finding, Reasons
from stigma_api.errors import ApiError
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.kinds import KINDS

DEFAULT_MIN_AGE = timedelta(minutes=1)
DEFAULT_LIMIT = 200
MAX_LIMIT = 1000

# Looks of this process: each is hundreds of calls to Temporal, and the others wait for theirs.
_LOOKS_AT_A_TIME = 3
_AT_A_TIME = 16
# Of looking, and then of judging: a person waits, and a part of the answer is one.
_PATIENCE = timedelta(seconds=6)

T = TypeVar("T")
R = TypeVar("R")


class StuckExecutions:
    """Looks for executions that do not get on; asks Temporal, and none of our services."""

    def __init__(self, client: Client, queues: TaskQueues) -> None:
        self._client = client
        self._queues = queues
        self._subjects = Reader[Any](client, *KINDS)
        self._open = OpenExecutions(client, queues.orchestrator)
        self._callers = StuckCallers(client)
        self._room = asyncio.Semaphore(_LOOKS_AT_A_TIME)

    async def list(
        self, principal: Principal, request: ListStuckExecutionsRequest
    ) -> ListStuckExecutionsResponse:
        """Return those that are stuck, oldest first, within the principal's reach.

        Waits while others look; for how long is its caller's to say.

        Raises:
            ApiError: INVALID_ARGUMENT on `min_age` or `limit`; UNAVAILABLE, Temporal does not
                answer.
        """
        min_age, limit = _bounds(request)
        async with self._room:
            return await self._look(principal, min_age, limit)

    async def _look(
        self, principal: Principal, min_age: timedelta, limit: int
    ) -> ListStuckExecutionsResponse:
        ids, total = await self._open.oldest(principal, min_age, limit)
        looked_at = await _each(ids, self._subjects.find)
        subjects = [found for found in looked_at if found is not None and found.is_open]
        reasons = Reasons(self._client, self._queues, Queues(self._client), self._callers)
        for subject in subjects:
            reasons.note(subject)

        async def judge(
            subject: ExecutionDescription[Any],
        ) -> tuple[ExecutionDescription[Any], Finding | None]:
            return subject, await reasons.of(subject)

        judged = await _each(subjects, judge)
        stuck = [_stuck(subject, found) for subject, found in judged if found is not None]
        stuck.sort(key=lambda each: each.start_time.ToNanoseconds())
        return ListStuckExecutionsResponse(executions=stuck, examined=len(judged), open=total)


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


def _stuck(subject: ExecutionDescription[Any], found: Finding) -> StuckExecution:
    stuck = StuckExecution(
        execution_id=subject.execution_id,
        definition_id=subject.definition_id,
        start_time=subject.start_time,
        reason=found.reason,
        message=found.message,
        command=found.command,
    )
    if subject.execution.status.HasField("deadline"):
        stuck.deadline.CopyFrom(subject.execution.status.deadline)
    return stuck


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Return what came of each item, a few at a time, as far as that is known in time.

    Raises:
        ApiError, RPCError: Temporal answered for none.
    """
    room = asyncio.Semaphore(_AT_A_TIME)

    async def one(item: T) -> R:
        async with room:
            return await work(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, timeout=_PATIENCE.total_seconds())
    finally:
        for task in tasks:
            task.cancel()
    results, errors = [], []
    for task in tasks:
        if task not in done:
            continue
        try:
            results.append(task.result())
        except (ApiError, RPCError) as error:
            errors.append(error)
    if errors and not results:
        raise errors[0]
    return results
