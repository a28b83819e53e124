"""Pending steps of executions, as commands and the console word them."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import PENDING_STEP_KIND_TIMER, PendingStep


def step_state(step: PendingStep, time_text: Callable[[Timestamp], str]) -> str:
    """Return how a step stands, for people; "" for one of which no more is known than its title.

    For instance "last attempt RATE_LIMITED, attempt 4 follows at 2026-01-31T12:00:00Z".

    Args:
        step: the step.
        time_text: returns a time as it is shown.
    """
    due = time_text(step.due_time) if step.HasField("due_time") else ""
    if step.kind == PENDING_STEP_KIND_TIMER:
        parts = [step.last_failure, f"ends at {due}"]
    else:
        execution = f"execution {step.execution_id}" if step.execution_id else ""
        ended = f"last attempt {step.last_failure}" if step.last_failure else ""
        parts = [execution, ended, _attempt(step, due), _queue(step)]
    return ", ".join(filter(None, parts))


def _attempt(step: PendingStep, due: str) -> str:
    """Return which attempt is at work or comes next; a first one goes without saying."""
    if due:
        return f"attempt {step.attempt} follows at {due}"
    return f"attempt {step.attempt}" if step.attempt > 1 else ""


def _queue(step: PendingStep) -> str:
    if step.no_worker:
        return f"no worker polls task queue {step.task_queue}"
    return f"in task queue {step.task_queue}" if step.task_queue else ""
