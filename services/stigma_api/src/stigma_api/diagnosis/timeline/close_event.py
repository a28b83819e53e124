"""How an execution ended, in its timeline: told by the event that closed its last run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, CallbackState
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_WORKFLOW_ERROR
from stigma.contracts import errors
from stigma.contracts.executions import Execution, phase_name
from stigma_api.diagnosis.timeline.entries import used
from stigma_api.executions import outcome
from stigma_api.executions.reader import ExecutionDescription

_CLOSING = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
}


@dataclass(frozen=True)
class End:
    """How it ended, and the execution as it ended."""

    title: str
    detail: str
    failed: bool
    execution: Execution


def closes(event: HistoryEvent) -> bool:
    """Return whether nothing of the execution comes after this event."""
    return event.event_type in _CLOSING


async def end(client: Client, subject: ExecutionDescription[Any], event: HistoryEvent) -> End:
    """Return how the execution ended with this event, one that `closes`."""
    as_started = cast("Any", subject.execution)
    execution: Execution = await outcome.execution_at_close(client, as_started, event)
    failed = execution.status.HasField("failure")
    detail = _why(execution) if failed else _notable(execution)
    return End(phase_name(execution).lower().replace("_", " "), detail, failed, execution)


def _why(execution: Execution) -> str:
    failure = execution.status.failure
    at = f" at {failure.step}" if failure.step else ""
    # What a document raises is in its author's words, and may quote its data.
    ours = failure.message and failure.reason != FAILURE_REASON_WORKFLOW_ERROR
    said = f": {failure.message}" if ours else ""
    return f"{errors.reason_name(failure.reason)}{at}{said}"


def _notable(execution: Execution) -> str:
    notable = [used(execution.status.usage)] if isinstance(execution, AgentExecution) else []
    if execution.status.HasField("callback"):
        state = CallbackState.Name(execution.status.callback.state)
        if state != "CALLBACK_STATE_DELIVERED":
            notable.append(state.removeprefix("CALLBACK_STATE_").lower().replace("_", " "))
    return ", ".join(each for each in notable if each)
