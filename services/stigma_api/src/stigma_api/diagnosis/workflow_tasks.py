"""Pending workflow tasks: how the last attempt ended, and since when a worker is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo

from stigma_api.diagnosis.refused_commands import refused_command

RECENT_EVENTS = 100
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
    """How an attempt of a workflow task ended that is made again."""

    text: str
    """For people, for instance "its code fails on this version"."""
    is_unanswered: bool = False
    """No code failed: no worker answered in time."""
    is_refused: bool = False
    """Temporal refused what the code asked for."""


def last_end(newest_first: Iterable[HistoryEvent], timeout: Duration) -> TaskEnd:
    """Return how the last attempt ended that history has.

    Temporal records the first attempt of a task alone; those after it end alike but for a fault
    that changes meanwhile.

    Args:
        newest_first: the newest events of a run whose task is tried again.
        timeout: of the run's workflow tasks; zero where it is not known.
    """
    newest = list(newest_first)
    if refused := refused_command(newest):
        return TaskEnd(refused, is_refused=True)
    last = next((each for each in newest if each.event_type in _ENDS), None)
    if last is not None and last.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
        seconds = timeout.ToTimedelta().total_seconds()
        within = f"within {seconds:g} s" if seconds else "in time"
        return TaskEnd(f"no worker answered {within}", is_unanswered=True)
    return TaskEnd("its code fails on this version")


def waits_since(task: PendingWorkflowTaskInfo, now: datetime) -> datetime | None:
    """Return the time since when a worker that is there must have polled; None: it is too early.

    A worker polls again as soon as it has taken a task: where none has polled since the first
    attempt, the one that took it is gone or hangs, however new the present attempt is.
    """
    times: Sequence[datetime] = (
        task.scheduled_time.ToDatetime(UTC),
        task.original_scheduled_time.ToDatetime(UTC),
    )
    return max((each for each in times if now - each > _STICKY_WAIT), default=None)
