"""Messages, tool calls and usage as text."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    ROLE_MODEL,
    ROLE_USER,
    TOOL_OUTCOME_OK,
    TOOL_OUTCOME_UNKNOWN,
    AgentExecution,
    Message,
    Part,
    ToolCall,
    ToolResult,
    Usage,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    ModelCallCompleted,
    ToolCallEnded,
    ToolCallStarted,
    WatchAgentExecutionResponse,
)
from stigma_cli.conversation_text import message_lines, outcome_name, usage_text
from stigma_cli.execution_text import describe, rows

CALLS = [
    ToolCall(call_id="1-1", name="find", arguments_json='{"id":"A-1"}'),
    ToolCall(call_id="1-2", name="list"),
]
RESULT = ToolResult(call_id="1-1", name="find", outcome=TOOL_OUTCOME_OK, content='{"a":\n 1}')


def answer(*, text: str = "") -> Message:
    parts = [Part(text=text)] if text else []
    return Message(role=ROLE_MODEL, parts=[*parts, *(Part(tool_call=call) for call in CALLS)])


def test_a_conversation_has_a_line_for_each_call_and_result() -> None:
    lost = ToolResult(call_id="1-2", name="list", outcome=TOOL_OUTCOME_UNKNOWN, content="x" * 300)
    results = Message(role=ROLE_USER, parts=[Part(tool_result=RESULT), Part(tool_result=lost)])
    said = Message(role=ROLE_USER, parts=[Part(text="Where is it?")])
    shown = [line for each in (said, answer(text="hm"), results) for line in message_lines(each)]
    assert shown == [
        "user: Where is it?",
        "model: hm",
        'model calls 1-1 find {"id":"A-1"}',
        "model calls 1-2 list",
        'tool call 1-1 find OK: {"a": 1}',
        f"tool call 1-2 list UNKNOWN: {'x' * 199}…",
    ]
    assert [*message_lines(Message(role=ROLE_MODEL))] == ["model: "]


def test_events_of_tool_calls_are_lines() -> None:
    def line(**event: object) -> str:
        return describe(WatchAgentExecutionResponse(**event))  # type: ignore[arg-type]

    completed = ModelCallCompleted(step=1, message=answer())
    called = 'calls 1-1 find {"id":"A-1"}, 1-2 list'
    assert line(model_call_completed=completed) == f"model call 1 answered: {called}"
    completed = ModelCallCompleted(step=1, message=answer(text="hm"))
    assert line(model_call_completed=completed) == f"model call 1 answered: hm; {called}"
    started = ToolCallStarted(call_id="1-1", name="find")
    assert line(tool_call_started=started) == "tool call 1-1 find"
    ended = ToolCallEnded(result=RESULT)
    assert line(tool_call_ended=ended) == 'tool call 1-1 find OK: {"a": 1}'


def test_an_outcome_of_a_later_release_is_a_number() -> None:
    result = ToolResult()
    result.outcome = 99  # type: ignore[assignment]
    assert outcome_name(result) == "99"


def test_what_an_execution_used_is_shown_whole() -> None:
    usage = Usage(
        model_calls=3,
        tool_calls=2,
        input_tokens=1500,
        output_tokens=20,
        cache_read_tokens=1000,
        unmeasured_calls=1,
        cost_usd=0.25,
        unpriced_calls=1,
    )
    execution = AgentExecution()
    execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
    execution.status.usage.CopyFrom(usage)
    execution.status.usage_by_model["openai:a"].CopyFrom(usage)
    shown = dict(rows(execution))
    assert shown["tools"] == "2 calls"
    assert shown["tokens"] == "1500 in (1000 from the cache), 20 out (estimated for 1 call)"
    assert shown["cost"] == "$0.2500 and 1 call of unknown cost"
    assert "openai:a" not in shown
    execution.status.usage_by_model["openai:b"].model_calls = 1
    shown = dict(rows(execution))
    assert shown["openai:b"] == "1 model call, 0 tokens in, 0 out"
    assert shown["openai:a"] == usage_text(usage)
    assert usage_text(usage) == (
        "3 model calls, 2 tool calls, 1,500 tokens in, 20 out (estimated for 1 call), "
        "$0.2500 and 1 call of unknown cost"
    )
