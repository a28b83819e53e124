"""The conversation of an agent with tools: messages made of answers and results of calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_USER,
    TOOL_OUTCOME_ERROR,
    TOOL_OUTCOME_OK,
    TOOL_OUTCOME_REFUSED,
    AgentExecutionSpec,
    Message,
    Part,
    ToolCall,
    ToolResult,
)
from stigma.internal.v1.execution_pb2 import ConverseResponse

Results = Mapping[str, ToolResult]
"""Results by call id."""


def task_message(spec: AgentExecutionSpec) -> Message:
    """Return the message that a conversation begins with."""
    parts = [Part(text=text) for text in (spec.message, spec.input_json) if text]
    return Message(role=ROLE_USER, parts=parts)


def sent_message(text: str) -> Message:
    """Return a message that was sent to a running execution, as its model reads it."""
    return Message(role=ROLE_USER, parts=[Part(text=text)])


def calls(answer: ConverseResponse) -> Iterator[ToolCall]:
    """Yield the calls of an answer that are to be made, in order."""
    refused = {result.call_id for result in answer.refused}
    for call in _asked(answer):
        if call.call_id not in refused and call.call_id != answer.output_call_id:
            yield call


def messages(answer: ConverseResponse, results: Results) -> list[Message]:
    """Return an answer and the message with the results of its calls, in the order of the calls.

    A call that has no result yet is left out of the latter.
    """
    told = _results(answer, results)
    parts = [
        Part(tool_result=told[call.call_id]) for call in _asked(answer) if call.call_id in told
    ]
    return [answer.message, Message(role=ROLE_USER, parts=parts)] if parts else [answer.message]


def output_accepted(answer: ConverseResponse, results: Results) -> bool:
    """Return whether an answer's output is the agent's: every other call of it succeeded."""
    if answer.output_error:
        return False
    if not answer.output_call_id:
        return not any(_asked(answer))
    return not _failed(answer, results)


def fit_view(found: list[Message], max_bytes: int) -> list[Message]:
    """Return messages of at most so many bytes, roughly: of the oldest, the texts are left out.

    Of the first message, the task, they are left out last.
    """
    excess = sum(message.ByteSize() for message in found) - max_bytes
    fitted = list(found)
    for index in [*range(1, len(found)), *range(min(len(found), 1))]:
        if excess > 0:
            fitted[index] = _without_texts(found[index])
            excess -= found[index].ByteSize() - fitted[index].ByteSize()
    return fitted


def _without_texts(message: Message) -> Message:
    shortened = Message()
    shortened.CopyFrom(message)
    for part in shortened.parts:
        part.ClearField("provider_state")
        match part.WhichOneof("kind"):
            case "tool_result":
                part.tool_result.content = _left_out(part.tool_result.content)
                part.tool_result.truncated = True
            case "tool_call":
                part.tool_call.arguments_json = _left_out(part.tool_call.arguments_json)
            case "text":
                part.text = _left_out(part.text)
            case "thinking":
                part.thinking = _left_out(part.thinking)
    return shortened


def _left_out(text: str) -> str:
    note = f"[left out of this view: {len(text.encode())} bytes]"
    return note if len(text) > len(note) else text


def _asked(answer: ConverseResponse) -> Iterator[ToolCall]:
    for part in answer.message.parts:
        if part.HasField("tool_call"):
            yield part.tool_call


def _results(answer: ConverseResponse, results: Results) -> dict[str, ToolResult]:
    told = {**results, **{result.call_id: result for result in answer.refused}}
    for call in _asked(answer):
        if call.call_id == answer.output_call_id:
            told[call.call_id] = _output_result(call, answer, results)
    return told


def _output_result(call: ToolCall, answer: ConverseResponse, results: Results) -> ToolResult:
    told = ToolResult(call_id=call.call_id, name=call.name, outcome=TOOL_OUTCOME_OK)
    if answer.output_error:
        told.outcome = TOOL_OUTCOME_ERROR
        told.content = f"The output is not accepted: {answer.output_error} Give it again, in full."
    elif failed := _failed(answer, results):
        told.outcome = TOOL_OUTCOME_REFUSED
        told.content = (
            f"The output is not accepted, since other calls did not succeed: {', '.join(failed)}. "
            "Consider their results, then give it again, in full."
        )
    else:
        told.content = "The output is accepted."
    return told


def _failed(answer: ConverseResponse, results: Results) -> list[str]:
    """Return the ids of the calls, but for the output's, that have not succeeded."""
    known = {**results, **{result.call_id: result for result in answer.refused}}
    return [
        call.call_id
        for call in _asked(answer)
        if call.call_id != answer.output_call_id
        and (call.call_id not in known or known[call.call_id].outcome != TOOL_OUTCOME_OK)
    ]
