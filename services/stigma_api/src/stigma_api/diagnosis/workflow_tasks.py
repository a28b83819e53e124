"""Pending workflow tasks: how the last attempt ended, and since when a worker is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from stigma_api.diagnosis.refused_commands import refused_command
from stigma_api.temporal.histories import Histories, Run

_RECENT_EVENTS = 20
"""Events that may follow a task's first end, the only one that history keeps: signals, mostly."""

# Wait of a task for the worker that has the workflow in its cache, should it have died.
_STICKY_WAIT = timedelta(seconds=12)
_ENDS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    }
)


@dataclass(frozen=True)
class TaskEnd:
    """End of an attempt of a workflow task that is made again."""

    text: str
    """For people, for instance "its code fails on this version"."""
    is_unanswered: bool = False
    """No code failed: no worker answered in time."""
    is_refused: bool = False
    """Temporal refused what the code asked for."""
    scheduled_time: datetime | None = None
    """When that attempt was scheduled; None where it was not read."""


async def read_last_end(
    histories: Histories, namespace: str, run: DescribeWorkflowExecutionResponse
) -> TaskEnd:
    """Return how the last attempt ended of the task of a run, which is tried again.

    Raises:
        RPCError, ApiError: Temporal does not tell.
    """
    execution = run.workflow_execution_info.execution
    own = Run(namespace, execution.workflow_id, execution.run_id)
    events = await histories.newest(own, _RECENT_EVENTS)
    return last_end(events, run.execution_config.default_workflow_task_timeout)


def last_end(newest_first: Iterable[HistoryEvent], timeout: Duration) -> TaskEnd:
    """Return how the last attempt ended that history has.

    Temporal records the first attempt of a task alone; those after it end alike but for a fault
    that changes meanwhile.

    Args:
        newest_first: the newest events of a run whose task is tried again.
        timeout: of the run's workflow tasks; zero where it is not known.
    """
    newest = list(newest_first)
    last = next((each for each in newest if each.event_type in _ENDS), HistoryEvent())
    scheduled_time = _scheduled_time(newest, last)
    if refused := refused_command(newest):
        return TaskEnd(refused, is_refused=True, scheduled_time=scheduled_time)
    if last.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
        seconds = timeout.ToTimedelta().total_seconds()
        text = (
            f"no worker answered within {seconds:g} s" if seconds else "no worker answered in time"
        )
        return TaskEnd(text, is_unanswered=True, scheduled_time=scheduled_time)
    return TaskEnd("its code fails on this version", scheduled_time=scheduled_time)


def _scheduled_time(newest: Iterable[HistoryEvent], end: HistoryEvent) -> datetime | None:
    attributes: Any = getattr(end, end.WhichOneof("attributes") or "", None)
    event_id = getattr(attributes, "scheduled_event_id", 0)
    times = (each.event_time.ToDatetime(UTC) for each in newest if each.event_id == event_id)
    return next(times, None) if event_id else None


def waits_since(
    task: PendingWorkflowTaskInfo, now: datetime, end: TaskEnd | None
) -> datetime | None:
    """Return the time since when a worker that is there must have polled; None: it is too early.

    A worker polls again as soon as it has taken a task: where none has polled since an attempt
    that has ended, the one that took it is gone or hangs, however new the present attempt is.

    Args:
        task: the pending one, of which Temporal has the times of the present attempt alone.
        now: the present time.
        end: of an attempt before; None for the first one.
    """
    scheduled = task.scheduled_time.ToDatetime(UTC)
    times = (scheduled, end.scheduled_time if end is not None else None)
    late = (each for each in times if each is not None and now - each > _STICKY_WAIT)
    return max(late, default=None)
