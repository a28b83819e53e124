"""Results of tool calls: what the model is told of a call, the same wherever it is read."""

from __future__ import annotations

import json
from datetime import timedelta

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
from stigma.contracts import json_text, limits, payloads, tools
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

_HAS_NOT_HAPPENED = "The call has not happened."


def of_success(call: ToolCall, tool: Tool, payload: Payload | None) -> ToolResult:
    """Return the result of a call whose activity, workflow or operation succeeded."""
    max_bytes = tools.Policy.of(tool).max_result_bytes
    if tool.HasField("agent") and payload is not None:
        output = payloads.from_raw(RawValue(payload), AgentExecution).status.output
        return result_of(call, TOOL_OUTCOME_OK, output.json or output.text, max_bytes)
    return of_payload(call, payload, max_bytes)


def of_payload(call: ToolCall, payload: Payload | None, max_bytes: int) -> ToolResult:
    """Return the result of a call that succeeded.

    Args:
        call: the call.
        payload: what was returned; None for nothing at all.
        max_bytes: of the content.
    """
    if payload is None:
        return result_of(call, TOOL_OUTCOME_OK, "", max_bytes)
    encoding = payload.metadata.get("encoding", b"")
    if encoding == _NOTHING:
        return result_of(call, TOOL_OUTCOME_OK, "", max_bytes)
    if encoding not in _JSON:
        name = encoding.decode(errors="replace")[:80]
        text = f"The call succeeded, but its result is encoded {name!r}, which cannot be read."
        return result_of(call, TOOL_OUTCOME_ERROR, text, max_bytes)
    return result_of(call, TOOL_OUTCOME_OK, _text(payload.data), max_bytes)


def of_failure(call: ToolCall, tool: Tool, error: BaseException) -> ToolResult:
    """Return the result of a call that did not succeed.

    Args:
        call: the call.
        tool: that it calls.
        error: as the SDK raises it, or its cause.
    """
    if isinstance(error, ActivityError | ChildWorkflowError | NexusOperationError):
        error = error.__cause__ or error
    outcome, text = _of_cause(tool, error)
    max_bytes = tools.Policy.of(tool).max_result_bytes
    return result_of(call, outcome, text, min(max_bytes, limits.MAX_TOOL_ERROR_BYTES))


def of_limit(call: ToolCall, reason: str, message: str) -> ToolResult:
    """Return the result of a call that was not made, since a limit does not allow it."""
    text = f"{reason}: {message} {_HAS_NOT_HAPPENED}"
    return result_of(call, TOOL_OUTCOME_NOT_RUN, text, limits.MAX_TOOL_ERROR_BYTES)


def of_refusal(call: ToolCall, problem: str) -> ToolResult:
    """Return the result of a call that is not made."""
    return result_of(call, TOOL_OUTCOME_REFUSED, problem, limits.MAX_TOOL_ERROR_BYTES)


def started_before(call: ToolCall) -> ToolResult:
    """Return the result of a call whose workflow was started before the execution was reset."""
    text = (
        "A workflow of this call exists already. The call may have happened. It was not repeated."
    )
    return result_of(call, TOOL_OUTCOME_UNKNOWN, text, limits.MAX_TOOL_ERROR_BYTES)


def left_open(call: ToolCall) -> ToolResult:
    """Return the result of a call that had not ended when its execution did."""
    text = "The call was cancelled: its execution ended. It may have happened."
    return result_of(call, TOOL_OUTCOME_CANCELLED, text, limits.MAX_TOOL_ERROR_BYTES)


def _of_cause(tool: Tool, error: BaseException) -> tuple[ToolOutcome.ValueType, str]:
    match error:
        case TimeoutError():
            return _of_timeout(tool, error)
        case CancelledError():
            return TOOL_OUTCOME_CANCELLED, "The call was cancelled."
        case ApplicationError():
            return _of_application_error(tool, error)
        case HandlerError():
            message = json_text.replace_surrogates(str(error))
            return TOOL_OUTCOME_ERROR, f"{error.type.name}: {message}"
    return _unknown(tool, f"The call ended by {type(error).__name__}.")


def mcp_answer(payload: Payload | None) -> CallMcpToolResponse:
    """Return the answer of an MCP server, as the AI worker has read it."""
    if payload is None:
        return CallMcpToolResponse()
    return payloads.from_raw(RawValue(payload), CallMcpToolResponse)


def of_mcp_answer(call: ToolCall, answered: CallMcpToolResponse) -> ToolResult | None:
    """Return the result of a call by the answer of its MCP server; None where the call goes on."""
    if not answered.outcome:
        return None
    return ToolResult(
        call_id=call.call_id,
        name=call.name,
        outcome=answered.outcome,
        content=answered.content,
        truncated=answered.truncated,
    )


def _of_timeout(tool: Tool, error: TimeoutError) -> tuple[ToolOutcome.ValueType, str]:
    policy = tools.Policy.of(tool)
    if error.type == TimeoutType.SCHEDULE_TO_START:
        within = f"within {_seconds(policy.start_timeout)}"
        # Where an attempt before had started, its failure is the cause.
        if error.__cause__:
            return _unknown(tool, f"The call was to be repeated, and no worker took it {within}.")
        text = f"No worker{_place(tool)} took the call {within}. {_HAS_NOT_HAPPENED}"
        return TOOL_OUTCOME_NOT_RUN, text
    if error.type == TimeoutType.HEARTBEAT:
        return _unknown(tool, "The worker of the call was lost.")
    is_attempt = error.type == TimeoutType.START_TO_CLOSE and _has_attempts(tool)
    limit = policy.attempt_timeout if is_attempt else policy.timeout
    subject = "An attempt of the call" if is_attempt and policy.retry_safe else "The call"
    return _unknown(tool, f"{subject} took longer than {_seconds(limit)}.")


def _of_application_error(tool: Tool, error: ApplicationError) -> tuple[ToolOutcome.ValueType, str]:
    if error.type == MCP_CALL_NOT_SENT:
        return TOOL_OUTCOME_NOT_RUN, f"{error.message} {_HAS_NOT_HAPPENED}"
    if error.type == MCP_CALL_LOST:
        return _unknown(tool, error.message)
    if error.type in _NOT_REGISTERED and _REGISTERED in error.message:
        # Workers of one queue may differ: an attempt before may have reached one that has it.
        is_last = tools.Policy.of(tool).retry_safe
        not_happened = "The last attempt has not happened." if is_last else _HAS_NOT_HAPPENED
        return TOOL_OUTCOME_NOT_RUN, f"{_absence(tool)} {not_happened}"
    if error.message == _WORKER_STOPPED:
        return _unknown(tool, "The worker of the call was stopped.")
    message = json_text.replace_surrogates(error.message)
    kind = json_text.replace_surrogates(error.type or "")
    return TOOL_OUTCOME_ERROR, f"{kind}: {message}" if kind else message


def _unknown(tool: Tool, text: str) -> tuple[ToolOutcome.ValueType, str]:
    """Return the outcome of a call that was lost, and how often it may have happened."""
    policy, again = tools.Policy.of(tool), "The call may have happened, even more than once:"
    if tool.HasField("nexus"):
        # Whatever the policy says: there is no retry policy of an operation.
        may = f"{again} Temporal repeats a request that the operation does not answer."
    elif policy.retry_safe:
        may = f"{again} it was tried up to {policy.attempts} times."
    else:
        may = "The call may have happened. It was not repeated."
    return TOOL_OUTCOME_UNKNOWN, f"{text} {may}"


def _has_attempts(tool: Tool) -> bool:
    """Return whether a call is an activity, each attempt of which has a timeout of its own."""
    return tool.HasField("activity") or tool.HasField("mcp")


def _place(tool: Tool) -> str:
    return f" of task queue {tool.activity.task_queue!r}" if tool.HasField("activity") else ""


def _absence(tool: Tool) -> str:
    if tool.HasField("activity"):
        return f"The worker{_place(tool)} has no activity {tool.activity.type!r}."
    if tool.HasField("mcp"):
        return "The AI worker cannot call MCP servers."
    return "The worker has no such tool."


def _seconds(time: timedelta) -> str:
    return f"{time.total_seconds():g} s"


def _text(data: bytes) -> str:
    """Return JSON as text: a string as what it says."""
    text = data.decode(errors="replace")
    if text.startswith('"'):
        try:
            text = json.loads(text)
        except ValueError:
            return text
        return json_text.replace_surrogates(text)
    return text


def result_of(
    call: ToolCall, outcome: ToolOutcome.ValueType, text: str, max_bytes: int
) -> ToolResult:
    """Return the result of a call with a text of at most so many bytes."""
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
    size = len(text.encode())
    if size <= max_bytes:
        return text, False
    note = f"\n[cut: this result has {size} bytes, too many to be shown]"
    return payloads.cut_text(text, max(max_bytes - len(note), 0)) + note, True
