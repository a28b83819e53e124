"""Results of tool calls: what the model is told of a call, the same wherever it is read."""

from __future__ import annotations

import json

from nexusrpc import HandlerError
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    NexusOperationError,
    TimeoutError,  # noqa: A004 - Temporal's
    TimeoutType,
)

from stigma.agent.v1.agent_execution_pb2 import (
    TOOL_OUTCOME_CANCELLED,
    TOOL_OUTCOME_ERROR,
    TOOL_OUTCOME_NOT_RUN,
    TOOL_OUTCOME_OK,
    TOOL_OUTCOME_REFUSED,
    TOOL_OUTCOME_UNKNOWN,
    AgentExecution,
    ToolCall,
    ToolOutcome,
    ToolResult,
)
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import limits, payloads, tools
from stigma.internal.v1.execution_pb2 import CallMcpToolResponse

MCP_CALL_NOT_SENT = "McpCallNotSent"
"""Type of the error of a call that did not reach its MCP server."""
MCP_CALL_LOST = "McpCallLost"
"""Type of the error of a call that was sent to its MCP server, which did not answer it."""

_JSON = frozenset((b"json/plain", b"json/protobuf"))
_NOTHING = b"binary/null"
# Types of the errors by which workers refuse an activity that they do not have.
_NOT_REGISTERED = frozenset(("NotFoundError", "ActivityNotRegisteredError"))
_REGISTERED = "registered"

# Said by the core of the Python, TypeScript, .NET and Ruby SDKs for what still ran at the end.
_WORKER_STOPPED = "Worker is shutting down and this activity did not complete in time"

_MAY_HAVE_HAPPENED = "The call may have happened. It was not repeated."
_HAS_NOT_HAPPENED = "The call has not happened."


def of_success(call: ToolCall, tool: Tool, payload: Payload | None) -> ToolResult:
    """Return the result of a call whose activity, workflow or operation succeeded."""
    max_bytes = tools.Policy.of(tool).max_result_bytes
    if tool.HasField("mcp") and payload is not None:
        return _of_mcp_server(call, payload)
    if tool.HasField("agent") and payload is not None:
        output = payloads.from_raw(RawValue(payload), AgentExecution).status.output
        return _result(call, TOOL_OUTCOME_OK, output.json or output.text, max_bytes)
    return of_payload(call, payload, max_bytes)


def of_payload(call: ToolCall, payload: Payload | None, max_bytes: int) -> ToolResult:
    """Return the result of a call that succeeded.

    Args:
        call: the call.
        payload: what was returned; None for nothing at all.
        max_bytes: of the content.
    """
    if payload is None:
        return _result(call, TOOL_OUTCOME_OK, "", max_bytes)
    encoding = payload.metadata.get("encoding", b"")
    if encoding == _NOTHING:
        return _result(call, TOOL_OUTCOME_OK, "", max_bytes)
    if encoding not in _JSON:
        name = encoding.decode(errors="replace")[:80]
        text = f"The call succeeded, but its result is encoded {name!r}, which cannot be read."
        return _result(call, TOOL_OUTCOME_ERROR, text, max_bytes)
    return _result(call, TOOL_OUTCOME_OK, _text(payload.data), max_bytes)


def of_failure(call: ToolCall, error: BaseException, max_bytes: int) -> ToolResult:
    """Return the result of a call that did not succeed.

    Args:
        call: the call.
        error: as the SDK raises it, or its cause.
        max_bytes: of the content.
    """
    if isinstance(error, ActivityError | ChildWorkflowError | NexusOperationError):
        error = error.__cause__ or error
    outcome, text = _of_cause(error)
    return _result(call, outcome, text, min(max_bytes, limits.MAX_TOOL_ERROR_BYTES))


def of_limit(call: ToolCall, reason: str, message: str) -> ToolResult:
    """Return the result of a call that was not made, since a limit does not allow it."""
    text = f"{reason}: {message} {_HAS_NOT_HAPPENED}"
    return _result(call, TOOL_OUTCOME_NOT_RUN, text, limits.MAX_TOOL_ERROR_BYTES)


def of_refusal(call: ToolCall, problem: str) -> ToolResult:
    """Return the result of a call that is not made."""
    return _result(call, TOOL_OUTCOME_REFUSED, problem, limits.MAX_TOOL_ERROR_BYTES)


def started_before(call: ToolCall) -> ToolResult:
    """Return the result of a call whose workflow was started before the execution was reset."""
    text = f"A workflow of this call exists already. {_MAY_HAVE_HAPPENED}"
    return _result(call, TOOL_OUTCOME_UNKNOWN, text, limits.MAX_TOOL_ERROR_BYTES)


def _of_cause(error: BaseException) -> tuple[ToolOutcome.ValueType, str]:
    match error:
        case TimeoutError():
            return _of_timeout(error)
        case CancelledError():
            return TOOL_OUTCOME_CANCELLED, "The call was cancelled."
        case ApplicationError():
            return _of_application_error(error)
        case HandlerError():
            message = payloads.replace_surrogates(str(error))
            return TOOL_OUTCOME_ERROR, f"{error.type.name}: {message}"
    return TOOL_OUTCOME_UNKNOWN, f"The call ended by {type(error).__name__}. {_MAY_HAVE_HAPPENED}"


def _of_mcp_server(call: ToolCall, payload: Payload) -> ToolResult:
    """Return the result of a call as the AI worker has read it from the server's answer."""
    answered = payloads.from_raw(RawValue(payload), CallMcpToolResponse)
    return ToolResult(
        call_id=call.call_id,
        name=call.name,
        outcome=answered.outcome,
        content=answered.content,
        truncated=answered.truncated,
    )


def _of_timeout(error: TimeoutError) -> tuple[ToolOutcome.ValueType, str]:
    # Where an attempt before had started, its failure is the cause.
    if error.type == TimeoutType.SCHEDULE_TO_START and not error.__cause__:
        return TOOL_OUTCOME_NOT_RUN, f"No worker took the call in time. {_HAS_NOT_HAPPENED}"
    if error.type == TimeoutType.HEARTBEAT:
        return TOOL_OUTCOME_UNKNOWN, f"The worker of the call was lost. {_MAY_HAVE_HAPPENED}"
    return TOOL_OUTCOME_UNKNOWN, f"The call took too long. {_MAY_HAVE_HAPPENED}"


def _of_application_error(error: ApplicationError) -> tuple[ToolOutcome.ValueType, str]:
    if error.type == MCP_CALL_NOT_SENT:
        return TOOL_OUTCOME_NOT_RUN, f"{error.message} {_HAS_NOT_HAPPENED}"
    if error.type == MCP_CALL_LOST:
        return TOOL_OUTCOME_UNKNOWN, f"{error.message} {_MAY_HAVE_HAPPENED}"
    if error.type in _NOT_REGISTERED and _REGISTERED in error.message:
        return TOOL_OUTCOME_NOT_RUN, f"The worker has no such tool. {_HAS_NOT_HAPPENED}"
    if error.message == _WORKER_STOPPED:
        return TOOL_OUTCOME_UNKNOWN, f"The worker of the call was stopped. {_MAY_HAVE_HAPPENED}"
    message = payloads.replace_surrogates(error.message)
    kind = payloads.replace_surrogates(error.type or "")
    return TOOL_OUTCOME_ERROR, f"{kind}: {message}" if kind else message


def _text(data: bytes) -> str:
    """Return JSON as text: a string as what it says."""
    text = data.decode(errors="replace")
    if text.startswith('"'):
        try:
            text = json.loads(text)
        except ValueError:
            return text
        return payloads.replace_surrogates(text)
    return text


def _result(
    call: ToolCall, outcome: ToolOutcome.ValueType, text: str, max_bytes: int
) -> ToolResult:
    content, truncated = cut(text, max_bytes)
    return ToolResult(
        call_id=call.call_id,
        name=call.name,
        outcome=outcome,
        content=content,
        truncated=truncated,
    )


def cut(text: str, max_bytes: int) -> tuple[str, bool]:
    """Return a text of at most so many bytes, and whether it was cut: then it says so."""
    data = text.encode()
    if len(data) <= max_bytes:
        return text, False
    note = f"\n[cut: this result has {len(data)} bytes, too many to be shown]"
    kept = data[: max(max_bytes - len(note), 0)].decode(errors="ignore")
    return kept + note, True
