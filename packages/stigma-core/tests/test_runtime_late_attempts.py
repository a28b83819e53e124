"""Attempts that reach their code late: made where Temporal waits for them, else not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    UnsandboxedWorkflowRunner,
    Worker,
)
from typing_extensions import override

from stigma.runtime.late_attempts import LateAttempts
from tests.stack.plugin import TemporalServer
from tests.stack.waiting import eventually

CALL = "late_call"
LOCAL_CALL = "late_local_call"
RUN = "LateCallWorkflow"
LOCAL_RUN = "LateLocalCallWorkflow"


class Outside:
    """The outside that attempts reach, and the doors at which they wait before and in it."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.entrance = asyncio.Event()
        self.exit = asyncio.Event()

    @activity.defn(name=CALL)
    async def call(self) -> str:
        attempt = activity.info().attempt
        self.attempts.append(attempt)
        if attempt == 1:
            activity.heartbeat({"at": 1})
            raise ApplicationError("once more")
        await self.exit.wait()
        return f"attempt {attempt}"


@activity.defn(name=LOCAL_CALL)
async def local_call() -> int:
    return activity.info().attempt


class Late(Interceptor):
    """Holds attempts up before anything else sees them."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        outside = self._outside

        class Inbound(ActivityInboundInterceptor):
            @override
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                await outside.entrance.wait()
                return await super().execute_activity(input)

        return Inbound(next)


@workflow.defn(name=RUN)
class LateCallWorkflow:
    @workflow.run
    async def run(self, seconds: float, attempts: int) -> str:
        answer: str = await workflow.execute_activity(
            CALL,
            result_type=str,
            start_to_close_timeout=timedelta(seconds=seconds),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=1), maximum_attempts=attempts
            ),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return answer


@workflow.defn(name=LOCAL_RUN)
class LateLocalCallWorkflow:
    @workflow.run
    async def run(self) -> int:
        attempt: int = await workflow.execute_local_activity(
            LOCAL_CALL,
            result_type=int,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return attempt


def new_worker(client: Client, queue: str, outside: Outside) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=[LateCallWorkflow, LateLocalCallWorkflow],
        activities=[outside.call, local_call],
        interceptors=[Late(outside), LateAttempts(timedelta(0))],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


@asynccontextmanager
async def called(
    server: TemporalServer, outside: Outside, *, seconds: float = 30, attempts: int = 2
) -> AsyncIterator[WorkflowHandle[Any, str]]:
    client = await Client.connect(server.address)
    queue = f"late-{uuid.uuid4()}"
    async with new_worker(client, queue, outside):
        run = await client.start_workflow(
            RUN, args=[seconds, attempts], id=queue, task_queue=queue, result_type=str
        )
        yield run


async def pending(run: WorkflowHandle[Any, str], attempt: int) -> PendingActivityInfo:
    """Return the activity once so many attempts have begun."""

    async def found() -> PendingActivityInfo | None:
        described = await run.describe()
        activities = described.raw_description.pending_activities
        started = [each for each in activities if each.HasField("last_started_time")]
        return next((each for each in started if each.attempt == attempt), None)

    return await eventually(found, what=f"attempt {attempt}")


async def test_an_attempt_that_temporal_waits_for_is_made(temporal_server: TemporalServer) -> None:
    outside = Outside()
    outside.entrance.set()
    async with called(temporal_server, outside) as run:
        await eventually(lambda: outside.attempts == [1, 2], what="the second attempt")
        # The confirmation of the second attempt left what the first one had told.
        [details] = (await pending(run, 2)).heartbeat_details.payloads
        assert details.data == b'{"at":1}'
        outside.exit.set()
        assert await run.result() == "attempt 2"


async def test_an_attempt_that_temporal_has_given_up_is_not_made(
    temporal_server: TemporalServer,
) -> None:
    outside = Outside()
    outside.exit.set()
    async with called(temporal_server, outside, seconds=2, attempts=20) as run:
        await pending(run, 3)
        outside.entrance.set()
        result = await run.result()
    # Where this process is late, Temporal gives up that one, too.
    assert result == f"attempt {outside.attempts[-1]}"
    assert min(outside.attempts) >= 3


async def test_an_attempt_whose_activity_is_cancelled_is_not_made(
    temporal_server: TemporalServer,
) -> None:
    outside = Outside()
    async with called(temporal_server, outside) as run:
        await pending(run, 1)
        await run.cancel()
        await eventually(lambda: is_cancel_requested(run), what="a request to cancel the activity")
        outside.entrance.set()
        with pytest.raises(WorkflowFailureError) as failed:
            await run.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert outside.attempts == []


async def test_a_local_attempt_is_made_however_late(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    outside, queue = Outside(), f"late-{uuid.uuid4()}"
    outside.entrance.set()
    async with new_worker(client, queue, outside):
        result = await client.execute_workflow(
            LOCAL_RUN, id=queue, task_queue=queue, result_type=int
        )
    assert result == 1


async def is_cancel_requested(run: WorkflowHandle[Any, str]) -> bool:
    history = await run.fetch_history()
    return any(
        event.HasField("activity_task_cancel_requested_event_attributes")
        for event in history.events
    )
