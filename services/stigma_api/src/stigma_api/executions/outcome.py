"""The outcome of an execution, read from its memo and its close event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

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
from stigma.contracts.executions import Execution
from stigma.contracts.sub_agents import MEMO_DIGEST, MEMO_EXECUTION
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma_api.kinds import E

_PHASES: dict[int, AgentExecutionPhase.ValueType] = {
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED: AGENT_EXECUTION_PHASE_COMPLETED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED: AGENT_EXECUTION_PHASE_FAILED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED: AGENT_EXECUTION_PHASE_CANCELLED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED: AGENT_EXECUTION_PHASE_FAILED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: AGENT_EXECUTION_PHASE_TIMED_OUT,
}


_DETAILS_DECODERS: dict[type[Execution], Callable[[object], Execution | None]] = {
    AgentExecution: errors.execution_from_details,
    WorkflowExecution: errors.workflow_execution_from_details,
}


def put_phase(execution: Execution, phase: AgentExecutionPhase.ValueType) -> None:
    """Set the phase of an execution of either kind: both have the same numbers."""
    execution.status.phase = cast("Any", phase)


def phase_of(workflow_status: int) -> AgentExecutionPhase.ValueType:
    """Return the phase of a workflow status; RUNNING while it is open."""
    return _PHASES.get(workflow_status, AGENT_EXECUTION_PHASE_RUNNING)


async def from_memo(client: Client, fields: Mapping[str, Payload], execution_type: type[E]) -> E:
    """Return the execution in the memo: as started, or as closed when cancelled."""
    payload = fields.get(MEMO_EXECUTION)
    if payload is None:
        return execution_type()
    return payloads.from_raw(await _decoded(client, payload), execution_type)


async def digest_in_memo(client: Client, fields: Mapping[str, Payload]) -> str:
    """Return the digest of the request that started the execution, in hex."""
    payload = fields.get(MEMO_DIGEST)
    if payload is None:
        return ""
    [digest] = await client.data_converter.decode([payload], [str])
    return str(digest)


async def execution_at_close(client: Client, as_started: E, event: HistoryEvent) -> E:
    """Return a closed execution.

    Args:
        client: decodes payloads.
        as_started: from the memo; fields that the outcome does not repeat are taken from it.
        event: the event that closed the last run.
    """
    execution = type(as_started)()
    execution.CopyFrom(as_started)
    end = await _from_close_event(client, execution, event)
    merge_into(execution, end)
    if not execution.status.HasField("end_time"):
        execution.status.end_time.CopyFrom(event.event_time)
    return execution


async def _from_close_event(client: Client, started: E, event: HistoryEvent) -> E:
    match event.WhichOneof("attributes"):
        case "workflow_execution_completed_event_attributes":
            result = event.workflow_execution_completed_event_attributes.result
            return await _result(client, result.payloads, type(started))
        case "workflow_execution_failed_event_attributes":
            return await _failed(client, event, type(started))
        case "workflow_execution_canceled_event_attributes":
            if started.status.phase == AGENT_EXECUTION_PHASE_CANCELLED:
                return type(started)()  # the workflow left its end in the memo
            failure = Failure(reason=FAILURE_REASON_CANCELLED, message="cancelled")
            return _ended_with(type(started), AGENT_EXECUTION_PHASE_CANCELLED, failure)
        case "workflow_execution_timed_out_event_attributes":
            failure = Failure(
                reason=FAILURE_REASON_TERMINATED, message="the workflow timed out in Temporal"
            )
            return _ended_with(type(started), AGENT_EXECUTION_PHASE_TIMED_OUT, failure)
        case _:
            reason = event.workflow_execution_terminated_event_attributes.reason
            message = f"terminated in Temporal: {reason}"
            failure = Failure(reason=FAILURE_REASON_TERMINATED, message=message)
            return _ended_with(type(started), AGENT_EXECUTION_PHASE_FAILED, failure)


async def _result(client: Client, result: Sequence[Payload], execution_type: type[E]) -> E:
    [raw] = await client.data_converter.decode(result, [RawValue])
    return payloads.from_raw(raw, execution_type)


async def _failed(client: Client, event: HistoryEvent, execution_type: type[E]) -> E:
    failure = event.workflow_execution_failed_event_attributes.failure
    error = await client.data_converter.decode_failure(failure)
    if isinstance(error, ApplicationError) and error.details:
        carried = _DETAILS_DECODERS[execution_type](error.details[0])
        if isinstance(carried, execution_type):
            return carried
    # The failure's text stays out: it may hold prompts.
    broken = "the agent's workflow" if execution_type is AgentExecution else "Stigma's own workflow"
    why = Failure(reason=FAILURE_REASON_INTERNAL, message=f"{broken} failed")
    return _ended_with(execution_type, AGENT_EXECUTION_PHASE_FAILED, why)


def _ended_with(
    execution_type: type[E], phase: AgentExecutionPhase.ValueType, failure: Failure
) -> E:
    execution = execution_type()
    put_phase(execution, phase)
    execution.status.failure.CopyFrom(failure)
    return execution


def merge_into(execution: E, newer: E) -> None:
    """Merge `newer` into the execution; lists of `newer` replace those before."""
    if isinstance(newer, AgentExecution):
        # A merge appends to lists: those of the conversation and of the agent come whole.
        if newer.status.messages:
            execution.status.ClearField("messages")
        if newer.spec.HasField("agent"):
            execution.spec.ClearField("agent")
    execution.MergeFrom(newer)


async def _decoded(client: Client, payload: Payload) -> RawValue:
    [raw] = await client.data_converter.decode([payload], [RawValue])
    return cast("RawValue", raw)
