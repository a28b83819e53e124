"""Pending steps of executions, as commands and the console word them."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import PENDING_STEP_KIND_TIMER, PendingStep

# Beginnings of texts on an attempt's end that are no class of a failure.
_SENTENCES = ("its ", "no worker ", "Temporal ")


def step_state(step: PendingStep, time_text: Callable[[Timestamp], str]) -> str:
    """Return how a step stands, for people; "" for one of which no more is known than its title.

    For instance "last attempt: RATE_LIMITED, attempt 4 follows at 2026-01-31T12:00:00Z".

    Args:
        step: the step.
        time_text: returns a time as it is shown.
    """
    due = time_text(step.due_time) if step.HasField("due_time") else ""
    if step.kind == PENDING_STEP_KIND_TIMER:
        # The title has the time, but for that of an API of another release.
        parts = [_failure(step), "" if "timer up to" in step.title else f"ends at {due}"]
    else:
        taken = time_text(step.taken_time) if step.HasField("taken_time") else ""
        parts = [_ended(step), _attempt(step, due), _queue(step), _taken(taken), _execution(step)]
    return ", ".join(filter(None, parts))


def _execution(step: PendingStep) -> str:
    if step.input_required:
        return "waits for a person"
    return f"execution {step.execution_id}" if step.execution_id else ""


def _ended(step: PendingStep) -> str:
    """Return how the last attempt ended: a sentence, or the class of its failure."""
    failure = _failure(step)
    return failure if not failure or failure.startswith(_SENTENCES) else f"last attempt: {failure}"


def _failure(step: PendingStep) -> str:
    return f"{step.last_failure} {step.last_status}" if step.last_status else step.last_failure


def _attempt(step: PendingStep, due: str) -> str:
    """Return which attempt is at work or comes next; a first one goes without saying."""
    if due:
        return f"attempt {step.attempt} follows at {due}"
    if step.attempt <= 1:
        return ""
    return f"attempt {step.attempt} {'follows' if step.task_queue else 'is under way'}"


def _queue(step: PendingStep) -> str:
    if step.no_worker:
        return f"no worker polls task queue {step.task_queue}"
    return f"no worker of task queue {step.task_queue} has taken it" if step.task_queue else ""


def _taken(time: str) -> str:
    return f"a worker took its task at {time}, and has not answered" if time else ""
