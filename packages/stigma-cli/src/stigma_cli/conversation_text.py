"""Messages, tool calls and usage of agents, as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_USER,
    Message,
    ToolCall,
    ToolOutcome,
    ToolResult,
    Usage,
)
from stigma.contracts.costs import cost_text
from stigma_cli.output import counted

# Characters shown of arguments and of a result where each has one line.
_MAX_SHOWN = 200


def message_lines(message: Message) -> Iterator[str]:
    """Yield a message of a conversation: its text, then a line for each tool call or result."""
    texts = (part.text or part.thinking for part in message.parts)
    text = " ".join(filter(None, texts))
    calls = [part.tool_call for part in message.parts if part.HasField("tool_call")]
    results = [part.tool_result for part in message.parts if part.HasField("tool_result")]
    if text.strip() or not (calls or results):
        yield f"{'user' if message.role == ROLE_USER else 'model'}: {text}"
    for call in calls:
        yield f"model calls {call_text(call)}"
    for result in results:
        yield f"tool call {result_text(result)}"


def answer_text(message: Message) -> str:
    """Return what a model answered, on one line: its text, and the tools that it calls."""
    text = " ".join(part.text for part in message.parts if part.text)
    calls = [part.tool_call for part in message.parts if part.HasField("tool_call")]
    called = f"calls {', '.join(map(call_text, calls))}" if calls else ""
    return "; ".join(part for part in (text, called) if part)


def call_text(call: ToolCall) -> str:
    """Return a tool call with its arguments, as far as they fit on a line."""
    return f"{call.call_id} {call.name} {_cut(call.arguments_json)}".rstrip()


def result_text(result: ToolResult) -> str:
    """Return the outcome of a tool call and its result, as far as that fits on a line."""
    content = f": {_cut(result.content)}" if result.content else ""
    return f"{result.call_id} {result.name} {outcome_name(result)}{content}"


def outcome_name(result: ToolResult) -> str:
    """Return a tool call's outcome without its prefix; its number where unnamed."""
    if result.outcome not in ToolOutcome.values():
        return str(result.outcome)
    return ToolOutcome.Name(result.outcome).removeprefix("TOOL_OUTCOME_")


def usage_text(usage: Usage) -> str:
    """Return what calls used: "2 model calls, 3 tool calls, 1,200 tokens in, 30 out, $0.5000"."""
    parts = [
        counted(usage.model_calls, "model call"),
        counted(usage.tool_calls, "tool call") if usage.tool_calls else "",
        f"{usage.input_tokens:,} tokens in",
        f"{usage.output_tokens:,} out{_estimated(usage)}",
        cost_text(usage),
    ]
    return _joined(parts)


def tokens_text(usage: Usage) -> str:
    """Return the tokens of model calls: "1200 in (800 from the cache), 30 out"."""
    cached = f" ({usage.cache_read_tokens} from the cache)" if usage.cache_read_tokens else ""
    return f"{usage.input_tokens} in{cached}, {usage.output_tokens} out{_estimated(usage)}"


def _estimated(usage: Usage) -> str:
    if not usage.unmeasured_calls:
        return ""
    return f" (estimated for {counted(usage.unmeasured_calls, 'call')})"


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def _cut(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 1]}…"
