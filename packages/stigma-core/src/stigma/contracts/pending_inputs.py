"""Inputs that agents wait for from people, and the result that an answer gives a call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_CLIENT_TOOL,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    TOOL_OUTCOME_NOT_RUN,
    TOOL_OUTCOME_OK,
    TOOL_OUTCOME_REFUSED,
    TOOL_OUTCOME_UNKNOWN,
    PendingInput,
    PendingInputKind,
    ToolCall,
    ToolOutcome,
    ToolResult,
)
from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import json_text, limits, tools
from stigma.contracts.tool_results import cut, result_of

MEMO = "pending_inputs"
"""Key of the memo of an execution's workflow that holds what it waits for."""

_PREFIXES: dict[PendingInputKind.ValueType, str] = {
    PENDING_INPUT_KIND_APPROVAL: "approval",
    PENDING_INPUT_KIND_QUESTION: "question",
    PENDING_INPUT_KIND_CLIENT_TOOL: "client",
    PENDING_INPUT_KIND_ELICITATION: "elicitation",
    PENDING_INPUT_KIND_AUTHORIZATION: "authorization",
}
_OF_SERVERS = ("elicitation", "authorization")

# A call's id is "<step>-<n>"; one of several inputs of a call adds ".<number>".
_CALL_PARTS = 2
# Of a root execution "agent-<hex>".
_ROOT_PARTS = 2


def input_id(
    kind: PendingInputKind.ValueType,
    call_id: str,
    execution_id: str,
    root: str = "",
    number: int = 0,
) -> str:
    """Return the id of what a call waits for, unique in a tree of agents.

    Args:
        kind: of the input.
        call_id: the call, "<step>-<n>".
        execution_id: of the call; of an agent below another one, "<root>-<call>-<call>…".
        root: the execution that was started; empty for this one.
        number: of the input among those of an MCP server for the call; 0 for an input of another
            kind, which has no number.
    """
    below = execution_id.removeprefix(root) if root else ""
    ending = f".{number}" if number else ""
    return f"{_PREFIXES[kind]}{below}-{call_id}{ending}"


def is_of_server(input_id: str) -> bool:
    """Return whether an MCP server asks for an input: its answer is not the result of a call."""
    return input_id.startswith(_OF_SERVERS)


def call_of(input_id: str) -> str:
    """Return the call that waits for an input."""
    return "-".join(input_id.split("-")[-_CALL_PARTS:]).partition(".")[0]


def execution_of(input_id: str, execution_id: str) -> str:
    """Return the execution that waits for an input, which is a given one or below it."""
    root = execution_id.split("-")[:_ROOT_PARTS]
    found = "-".join([*root, *input_id.split("-")[1:-_CALL_PARTS]])
    return found if found.startswith(execution_id) else execution_id


def answered_kind(tool: Tool) -> PendingInputKind.ValueType | None:
    """Return the kind of input that a call of this tool waits for instead of running; or None."""
    match tool.WhichOneof("kind"):
        case "question":
            return PENDING_INPUT_KIND_QUESTION
        case "client":
            return PENDING_INPUT_KIND_CLIENT_TOOL
    return None


def answer_timeout(tool: Tool) -> timedelta:
    """Return how long a question, or a call of a client's tool, waits for its answer."""
    return tool.policy.timeout.ToTimedelta() or limits.DEFAULT_INPUT_TIMEOUT


def question_of(call: ToolCall) -> tuple[str, str]:
    """Return a question's text, and the schema of its answer as JSON text; empty for any."""
    arguments: Any = json_text.parse(call.arguments_json)
    schema = arguments.get("schema")
    return arguments["question"], json_text.compact(schema) if schema else ""


def without_details(found: PendingInput) -> PendingInput:
    """Return a pending input without what its call says as well."""
    short = PendingInput()
    short.CopyFrom(found)
    for name in ("arguments_json", "schema", "question"):
        short.ClearField(name)
    return short


def brief(found: PendingInput) -> PendingInput:
    """Return a pending input without what may be long: for lists, events and the memo."""
    short = without_details(found)
    short.ClearField("approvers")
    short.question = cut(found.question, limits.MAX_QUESTION_VIEW_BYTES)[0]
    return short


def fit_view(found: Sequence[PendingInput], max_bytes: int) -> list[PendingInput]:
    """Return pending inputs of at most so many bytes, roughly: the last are without details."""
    fitted: list[PendingInput] = []
    for each in found:
        max_bytes -= each.ByteSize()
        fitted.append(each if max_bytes >= 0 else brief(each))
    return fitted


def of_answer(call: ToolCall, tool: Tool, answer: InputAnswer) -> ToolResult:
    """Return the result of a call that people have answered."""
    text = answer.text
    if answer.HasField("json"):
        value = json_text.parse(answer.json)
        text = value if isinstance(value, str) else answer.json
    return result_of(call, TOOL_OUTCOME_OK, text, tools.Policy.of(tool).max_result_bytes)


def of_denial(call: ToolCall, reason: str) -> ToolResult:
    """Return the result of a call that was not approved."""
    why = f" They say: {reason}" if reason else ""
    text = f"The call was not made: a person denied it.{why}"
    return result_of(call, TOOL_OUTCOME_REFUSED, text, limits.MAX_TOOL_ERROR_BYTES)


def of_rule(call: ToolCall) -> ToolResult:
    """Return the result of a call that a rule of the agent refuses."""
    text = "The call was not made: a rule of this agent does not allow it."
    return result_of(call, TOOL_OUTCOME_REFUSED, text, limits.MAX_TOOL_ERROR_BYTES)


def of_large_schema(call: ToolCall) -> ToolResult:
    """Return the result of a question whose schema is too large."""
    most = limits.MAX_QUESTION_SCHEMA_BYTES
    text = f"Nobody was asked: the schema of the answer may have {most} bytes."
    return result_of(call, TOOL_OUTCOME_REFUSED, text, limits.MAX_TOOL_ERROR_BYTES)


def of_decline(call: ToolCall, reason: str) -> ToolResult:
    """Return the result of a call that nobody will answer."""
    why = f" They say: {reason}" if reason else ""
    text = f"Nobody will answer.{why}"
    return result_of(call, TOOL_OUTCOME_NOT_RUN, text, limits.MAX_TOOL_ERROR_BYTES)


def of_large_response(call: ToolCall, size: int) -> ToolResult:
    """Return the result of a call that its answers make too large to be sent once more."""
    text = (
        f"The call has not happened: with what its server wants back it has {size} bytes, and may "
        f"have {limits.MAX_PAYLOAD_BYTES}."
    )
    return result_of(call, TOOL_OUTCOME_NOT_RUN, text, limits.MAX_TOOL_ERROR_BYTES)


def of_expiry(call: ToolCall, kind: PendingInputKind.ValueType) -> ToolResult:
    """Return the result of a call that waited too long."""
    outcome: ToolOutcome.ValueType = TOOL_OUTCOME_NOT_RUN
    text = "Nobody answered in time."
    if kind == PENDING_INPUT_KIND_APPROVAL:
        outcome = TOOL_OUTCOME_REFUSED
        text = "The call was not made: nobody approved it in time."
    elif kind == PENDING_INPUT_KIND_CLIENT_TOOL:
        # Who was shown the call may have run it, and not have said so.
        outcome = TOOL_OUTCOME_UNKNOWN
        text = "Nobody reported a result in time. The call may have happened."
    return result_of(call, outcome, text, limits.MAX_TOOL_ERROR_BYTES)


def edited(call: ToolCall, arguments_json: str) -> ToolCall:
    """Return a call with the arguments that a person has approved."""
    changed = ToolCall()
    changed.CopyFrom(call)
    changed.arguments_json = arguments_json
    return changed


def told_of_edit(result: ToolResult, arguments_json: str) -> ToolResult:
    """Return the result of a call whose arguments a person has changed: it says so."""
    shown, _ = cut(arguments_json, limits.MAX_TOOL_ERROR_BYTES)
    told = ToolResult()
    told.CopyFrom(result)
    told.content = f"[A person changed the arguments of this call: {shown}]\n{result.content}"
    return told
