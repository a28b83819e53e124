"""What an execution came to, read from what Temporal keeps of a closed workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_RUNNING,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    AgentExecution,
    AgentExecutionPhase,
    Failure,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CANCELLED,
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_TERMINATED,
)
from stigma.contracts import errors, payloads

MEMO_EXECUTION = "execution"
MEMO_DIGEST = "digest"

_PHASES: dict[int, AgentExecutionPhase.ValueType] = {
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED: AGENT_EXECUTION_PHASE_COMPLETED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED: AGENT_EXECUTION_PHASE_FAILED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED: AGENT_EXECUTION_PHASE_CANCELLED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED: AGENT_EXECUTION_PHASE_FAILED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: AGENT_EXECUTION_PHASE_TIMED_OUT,
}


def phase_of(workflow_status: int) -> AgentExecutionPhase.ValueType:
    """Return the phase that a workflow's own status stands for; RUNNING while it is open."""
    return _PHASES.get(workflow_status, AGENT_EXECUTION_PHASE_RUNNING)


async def from_memo(client: Client, fields: Mapping[str, Payload]) -> AgentExecution:
    """Return the execution as the memo has it: as started, or as ended when cancelled."""
    payload = fields.get(MEMO_EXECUTION)
    if payload is None:
        return AgentExecution()
    return payloads.from_raw(await _decoded(client, payload), AgentExecution)


async def digest_in_memo(client: Client, fields: Mapping[str, Payload]) -> str:
    """Return the digest of the request that started the execution, in hex."""
    payload = fields.get(MEMO_DIGEST)
    if payload is None:
        return ""
    [digest] = await client.data_converter.decode([payload], [str])
    return str(digest)


async def at_close(
    client: Client, as_started: AgentExecution, event: HistoryEvent
) -> AgentExecution:
    """Return a closed execution.

    Args:
        client: decodes payloads.
        as_started: from the memo; what the outcome does not repeat is taken from it.
        event: the event that closed the last run.
    """
    execution = AgentExecution()
    execution.CopyFrom(as_started)
    end = await _ended(client, execution, event)
    overlay(execution, end)
    if not execution.status.HasField("end_time"):
        execution.status.end_time.CopyFrom(event.event_time)
    return execution


async def _ended(client: Client, started: AgentExecution, event: HistoryEvent) -> AgentExecution:
    match event.WhichOneof("attributes"):
        case "workflow_execution_completed_event_attributes":
            result = event.workflow_execution_completed_event_attributes.result
            return await _result(client, result.payloads)
        case "workflow_execution_failed_event_attributes":
            return await _failed(client, event)
        case "workflow_execution_canceled_event_attributes":
            if started.status.phase == AGENT_EXECUTION_PHASE_CANCELLED:
                return AgentExecution()  # the workflow left its end in the memo
            failure = Failure(reason=FAILURE_REASON_CANCELLED, message="cancelled")
            return _ended_with(AGENT_EXECUTION_PHASE_CANCELLED, failure)
        case "workflow_execution_timed_out_event_attributes":
            failure = Failure(
                reason=FAILURE_REASON_TERMINATED, message="the workflow timed out in Temporal"
            )
            return _ended_with(AGENT_EXECUTION_PHASE_TIMED_OUT, failure)
        case _:
            reason = event.workflow_execution_terminated_event_attributes.reason
            message = f"terminated in Temporal: {reason}"
            failure = Failure(reason=FAILURE_REASON_TERMINATED, message=message)
            return _ended_with(AGENT_EXECUTION_PHASE_FAILED, failure)


async def _result(client: Client, result: Sequence[Payload]) -> AgentExecution:
    [raw] = await client.data_converter.decode(result, [RawValue])
    return payloads.from_raw(raw, AgentExecution)


async def _failed(client: Client, event: HistoryEvent) -> AgentExecution:
    failure = event.workflow_execution_failed_event_attributes.failure
    error = await client.data_converter.decode_failure(failure)
    if isinstance(error, ApplicationError) and error.details:
        carried = errors.execution_from_details(error.details[0])
        if carried is not None:
            return carried
    # Its text stays out: nobody promised that it is free of prompts.
    why = Failure(reason=FAILURE_REASON_INTERNAL, message="the agent's workflow failed")
    return _ended_with(AGENT_EXECUTION_PHASE_FAILED, why)


def _ended_with(phase: AgentExecutionPhase.ValueType, failure: Failure) -> AgentExecution:
    execution = AgentExecution()
    execution.status.phase = phase
    execution.status.failure.CopyFrom(failure)
    return execution


def overlay(execution: AgentExecution, newer: AgentExecution) -> None:
    """Take over what `newer` says; keep what it does not repeat."""
    # A merge appends to lists: those of the conversation and of the agent come whole.
    if newer.status.messages:
        execution.status.ClearField("messages")
    if newer.spec.HasField("agent"):
        execution.spec.ClearField("agent")
    execution.MergeFrom(newer)


async def _decoded(client: Client, payload: Payload) -> RawValue:
    [raw] = await client.data_converter.decode([payload], [RawValue])
    return cast("RawValue", raw)
