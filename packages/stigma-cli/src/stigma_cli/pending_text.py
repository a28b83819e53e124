"""Pending steps of executions, as text for people."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_pb2 import PENDING_STEP_KIND_TIMER, PendingStep
from stigma_cli.output import as_age, as_time


def pending_text(step: PendingStep) -> str:
    """Return a line: what is waited for, how it stands, and for how long.

    For instance "model call 2, openai:gpt-5 for 35s: last attempt RATE_LIMITED, attempt 4 follows
    at 2026-01-31T12:00:00Z".
    """
    waited = f"{step.title} for {as_age(step.start_time)}" if _has_start(step) else step.title
    state = ", ".join(part for part in _state(step) if part)
    return f"{waited}: {state}" if state else waited


def _has_start(step: PendingStep) -> bool:
    return step.HasField("start_time")


def _state(step: PendingStep) -> tuple[str, ...]:
    due = as_time(step.due_time) if step.HasField("due_time") else ""
    execution = f"execution {step.execution_id}" if step.execution_id else ""
    if step.kind == PENDING_STEP_KIND_TIMER:
        return (step.last_failure, f"ends at {due}")
    ended = f"last attempt {step.last_failure}" if step.last_failure else ""
    return (execution, ended, _attempt(step, due), _queue(step))


def _attempt(step: PendingStep, due: str) -> str:
    """Return which attempt is at work or comes next; a first one goes without saying."""
    if due:
        return f"attempt {step.attempt} follows at {due}"
    return f"attempt {step.attempt}" if step.attempt > 1 else ""


def _queue(step: PendingStep) -> str:
    if step.no_worker:
        return f"no worker polls task queue {step.task_queue}"
    return f"in task queue {step.task_queue}" if step.task_queue else ""
