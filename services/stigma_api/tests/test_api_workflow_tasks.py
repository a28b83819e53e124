"""Workflow tasks whose worker hangs, told apart from those whose code fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api
from services.stigma_api.tests.event_texts import lines, start
from services.stigma_api.tests.fake_workflows import diagnosis, timeline_of
from stigma.agent.v1 import agent_execution_pb2 as pb
from stigma.agent.v1.agent_execution_service_pb2 import GetAgentExecutionRequest
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    STUCK_REASON_NO_WORKER,
    TIMELINE_STEP_TASK_FAILING,
    ListStuckExecutionsRequest,
    StuckExecution,
)
from stigma_api.diagnosis.workflow_tasks import TaskEnd, last_end, waits_since
from tests.stack.waiting import eventually

NOW = datetime(2026, 1, 31, tzinfo=UTC)
TEN_SECONDS = Duration(seconds=10)
STARTED = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
TIMED_OUT = EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
CODE_FAILS = "its code fails on this version"
NO_ANSWER = "no worker answered within 10 s"


@asynccontextmanager
async def hanging_worker(client: Client, queue: str) -> AsyncIterator[None]:
    """Poll for workflow tasks, and answer none."""
    request = PollWorkflowTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
        identity="hangs",
    )

    async def poll() -> None:
        while True:
            await client.workflow_service.poll_workflow_task_queue(request)

    polling = asyncio.create_task(poll())
    try:
        yield
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def step_of(api: Api, execution_id: str) -> pb.PendingStep | None:
    request = GetAgentExecutionRequest(id=execution_id, pending_steps=True)
    found = await api.executions.GetAgentExecution(request, timeout=15)
    return next(iter(found.status.pending_steps), None)


async def test_a_worker_that_hangs_is_no_code_that_fails(api: Api, client: Client) -> None:
    queue = api.queues.orchestrator
    async with hanging_worker(client, queue):
        started = await start(api, "m")

        async def taken() -> pb.PendingStep | None:
            step = await step_of(api, started.id)
            return step if step is not None and step.HasField("taken_time") else None

        first = await eventually(taken, what="a task without an answer")
        assert (first.title, first.attempt) == (f"a worker of workflow {started.id}", 1)
        assert (first.last_failure, first.task_queue, first.no_worker) == ("", "", False)

        async def tried_again() -> pb.PendingStep | None:
            step = await step_of(api, started.id)
            return step if step is not None and step.attempt > 1 else None

        step = await eventually(tried_again, what="the second attempt")
        assert (step.last_failure, step.no_worker) == (NO_ANSWER, False)
        moved = step.start_time.ToDatetime() - first.start_time.ToDatetime()
        assert abs(moved) < timedelta(seconds=1)
        found = await stuck_one(api, started.id)
        assert found.reason == STUCK_REASON_NO_WORKER
        assert found.message == (
            f"no worker of task queue {queue} goes on with workflow {started.id}: {NO_ANSWER}, "
            "once so far: see whether stigma_orchestrator hangs or is cut off"
        )
        timeline = await timeline_of(api, started.id)
        assert lines(timeline, TIMELINE_STEP_TASK_FAILING) == [NO_ANSWER]
    await client.get_workflow_handle(started.id).terminate()


async def stuck_one(api: Api, execution_id: str) -> StuckExecution:
    request = ListStuckExecutionsRequest(min_age=Duration())
    reply = await diagnosis(api).ListStuckExecutions(request, timeout=15)
    found: StuckExecution
    [found] = [each for each in reply.executions if each.execution_id == execution_id]
    return found


@pytest.mark.parametrize(
    ("newest_first", "text"),
    [
        ([FAILED, STARTED], CODE_FAILS),
        ([TIMED_OUT, STARTED, FAILED], NO_ANSWER),
        ([EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, TIMED_OUT], NO_ANSWER),
        ([FAILED, STARTED, TIMED_OUT], CODE_FAILS),
        ([COMPLETED, TIMED_OUT], CODE_FAILS),
        ([], CODE_FAILS),
    ],
)
def test_the_newest_end_of_a_task_decides(
    newest_first: list[EventType.ValueType], text: str
) -> None:
    events = [HistoryEvent(event_type=each) for each in newest_first]
    assert last_end(events, TEN_SECONDS).text == text


def test_a_timeout_that_is_not_known_is_not_named() -> None:
    end = last_end([HistoryEvent(event_type=TIMED_OUT)], Duration())
    assert (end.text, end.is_unanswered) == ("no worker answered in time", True)


@pytest.mark.parametrize(
    ("scheduled", "before", "since"),
    [(1, None, None), (1, 5, None), (5, 40, 40), (20, 40, 20), (13, None, 13)],
)
def test_a_new_attempt_hides_no_worker_that_has_not_polled_since_the_last(
    scheduled: int, before: int | None, since: int | None
) -> None:
    def ago(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOW - timedelta(seconds=seconds)

    task = PendingWorkflowTaskInfo(attempt=3)
    task.scheduled_time.FromDatetime(NOW - timedelta(seconds=scheduled))
    end = TaskEnd(NO_ANSWER, scheduled_time=ago(before)) if before else None
    assert waits_since(task, NOW, end) == ago(since)


@pytest.mark.parametrize("kind", [FAILED, TIMED_OUT])
def test_an_end_names_the_time_of_its_attempt(kind: EventType.ValueType) -> None:
    scheduled = HistoryEvent(event_id=5)
    scheduled.event_time.FromDatetime(NOW)
    end = HistoryEvent(event_id=7, event_type=kind)
    if kind == FAILED:
        end.workflow_task_failed_event_attributes.scheduled_event_id = 5
    else:
        end.workflow_task_timed_out_event_attributes.scheduled_event_id = 5
    assert last_end([end, scheduled], TEN_SECONDS).scheduled_time == NOW
    assert last_end([end], TEN_SECONDS).scheduled_time is None
