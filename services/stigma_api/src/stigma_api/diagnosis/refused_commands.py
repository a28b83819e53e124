"""Commands that Temporal refuses: their workflow task fails until what they need is there."""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

_OPERATION = (
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_NEXUS_OPERATION_ATTRIBUTES
)
_PREFIX = "WORKFLOW_TASK_FAILED_CAUSE_"


def refused_command(newest_first: Iterable[HistoryEvent]) -> str:
    """Return the command by which the newest workflow task failed, and the problem with it.

    Args:
        newest_first: the newest events of a run.

    Returns:
        Text for people; empty where the newest task failed by its workflow's code.
    """
    for event in newest_first:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return ""
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            attributes = event.workflow_task_failed_event_attributes
            return _text(attributes.cause, attributes.failure.message)
    return ""


def _text(cause: WorkflowTaskFailedCause.ValueType, message: str) -> str:
    if cause == _OPERATION:
        # Temporal's own words: they name the endpoint, and nothing that a model wrote.
        return f"Temporal refuses its Nexus operation: {message.partition(': ')[2] or message}"
    name = WorkflowTaskFailedCause.Name(cause).removeprefix(_PREFIX)
    return f"Temporal refuses its command: {name}" if name.startswith("BAD_") else ""
