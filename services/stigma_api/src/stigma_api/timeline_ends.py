"""How an execution ended, in its timeline: told by the event that closed its last run."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, CallbackState
from stigma.contracts import errors
from stigma.contracts.executions import Execution, phase_name
from stigma_api.diagnosis_subjects import Subject
from stigma_api.timeline_entries import used
from stigma_api.timeline_payloads import message

_CLOSING = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
}


@dataclass(frozen=True)
class End:
    """How it ended; `execution` is None where the workflow itself could not say."""

    title: str
    detail: str
    failed: bool
    execution: Execution | None = None


def closes(event: HistoryEvent) -> bool:
    """Return whether nothing of the execution comes after this event."""
    return event.event_type in _CLOSING


async def end(client: Client, subject: Subject, event: HistoryEvent) -> End:
    """Return how the execution ended with this event, one that `closes`."""
    match event.event_type:
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            result = event.workflow_execution_completed_event_attributes.result.payloads
            return _ended(await message(client, result, type(subject.execution)))
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            return await _failed(client, subject, event)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
            # The workflow leaves its end in the memo, if it comes to it.
            left = subject.execution
            return _ended(left) if left.status.HasField("failure") else End("cancelled", "", True)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
            return End("timed out", "the workflow timed out in Temporal", True)
        case _:
            why = event.workflow_execution_terminated_event_attributes.reason
            return End("failed", f"terminated in Temporal: {why}".rstrip(": "), True)


async def _failed(client: Client, subject: Subject, event: HistoryEvent) -> End:
    failure = event.workflow_execution_failed_event_attributes.failure
    error = await client.data_converter.decode_failure(failure)
    if isinstance(error, ApplicationError) and error.details:
        of_agent = isinstance(subject.execution, AgentExecution)
        carried: Execution | None = (
            errors.execution_from_details(error.details[0])
            if of_agent
            else errors.workflow_execution_from_details(error.details[0])
        )
        if carried is not None:
            return _ended(carried)
    # Its text stays out: nobody promised that it is free of prompts.
    return End("failed", "the execution's workflow failed", True)


def _ended(execution: Execution) -> End:
    title = phase_name(execution).lower().replace("_", " ")
    status = execution.status
    if status.HasField("failure"):
        reason = errors.reason_name(status.failure.reason)
        at = f" at {status.failure.step}" if status.failure.step else ""
        # An agent's failure is in our words; a document's may quote its data.
        said = f": {status.failure.message}" if isinstance(execution, AgentExecution) else ""
        return End(title, f"{reason}{at}{said}", True, execution)
    notable = [used(execution.status.usage)] if isinstance(execution, AgentExecution) else []
    if (callback := _callback(execution)) != "delivered":
        notable.append(callback)
    return End(title, ", ".join(each for each in notable if each), False, execution)


def _callback(execution: Execution) -> str:
    if not execution.status.HasField("callback"):
        return ""
    name = CallbackState.Name(execution.status.callback.state)
    return name.removeprefix("CALLBACK_STATE_").lower().replace("_", " ")
