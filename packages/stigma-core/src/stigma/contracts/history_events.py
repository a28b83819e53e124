"""Single events of a run's history: the result of a call, the input of an update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Input as UpdateInput
from temporalio.converter import DataConverter
from temporalio.exceptions import CancelledError, TerminatedError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from stigma.agent.v1.agent_execution_pb2 import ToolCall, ToolResult
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import tool_results

_CHILD_NOT_STARTED = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED


def accepted_input(attributes: Any, admitted: Mapping[int, Any]) -> Any:
    """Return the name and the arguments of an update that a run has accepted.

    Args:
        attributes: of the event of its acceptance.
        admitted: inputs of updates by the events that admitted them: a reset writes such events,
            and leaves the input out of the others.
    """
    if attributes.accepted_request.HasField("input"):
        return attributes.accepted_request.input
    return admitted.get(attributes.accepted_request_sequencing_event_id, UpdateInput())


async def read_result(
    converter: DataConverter, call: ToolCall, tool: Tool, event: HistoryEvent
) -> ToolResult | None:
    """Return the result of a call by an event of its activity, child or operation.

    Args:
        converter: decodes payloads and failures.
        call: the call.
        tool: that it calls.
        event: of what runs the call; None is returned for one that does not end it, be it that an
            MCP server has asked something.
    """
    attributes: Any = getattr(event, event.WhichOneof("attributes") or "", None)
    match event.event_type:
        case (
            EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
            | EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED
        ):
            found = await first_payload(converter, attributes.result.payloads)
            if tool.HasField("mcp"):
                return tool_results.of_mcp_answer(call, tool_results.mcp_answer(found))
            return tool_results.of_success(call, tool, found)
        case EventType.EVENT_TYPE_NEXUS_OPERATION_COMPLETED:
            found = await first_payload(converter, [attributes.result])
            return tool_results.of_success(call, tool, found)
        case _ if event.event_type == _CHILD_NOT_STARTED:
            return tool_results.started_before(call)
    error = await _error(converter, event, attributes)
    if error is None:
        return None
    return tool_results.of_failure(call, tool, error)


async def _error(
    converter: DataConverter, event: HistoryEvent, attributes: Any
) -> BaseException | None:
    """Return the error that the workflow got by an event; None for an event without one."""
    match event.event_type:
        case (
            EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
            | EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
            | EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED
            | EventType.EVENT_TYPE_NEXUS_OPERATION_FAILED
            | EventType.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT
            | EventType.EVENT_TYPE_NEXUS_OPERATION_CANCELED
        ):
            return await converter.decode_failure(attributes.failure)
        case (
            EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED
            | EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED
        ):
            return CancelledError("cancelled")
        case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT:
            return TemporalTimeoutError("timed out", type=None, last_heartbeat_details=[])
        case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED:
            return TerminatedError("terminated")
    return None


async def first_payload(converter: DataConverter, found: Iterable[Payload]) -> Payload | None:
    """Return the first of an event's payloads, decoded by the converter's codec; None without."""
    decoded = list(found)
    if converter.payload_codec is not None:
        decoded = await converter.payload_codec.decode(decoded)
    return decoded[0] if decoded else None
