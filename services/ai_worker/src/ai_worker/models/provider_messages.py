"""Conversion of our conversations to pydantic-ai's."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from ai_worker.models import provider_state
from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_MODEL,
    TOOL_OUTCOME_OK,
    Message,
    Part,
    ToolOutcome,
    ToolResult,
)

# Longest name of a tool, and characters of one, that every provider takes.
_MAX_NAME = 64
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


def message_history(
    messages: Sequence[Message], provider: str, system: str, *, flags_errors: bool
) -> list[ModelMessage]:
    """Return the conversation, each call of a tool with exactly one result right after it.

    Args:
        messages: of the conversation.
        provider: our name of the provider, as in `Part.provider_state`.
        system: pydantic-ai's name of it.
        flags_errors: whether the provider has a flag for errors; pydantic-ai writes JSON otherwise.
    """
    return _History(provider, system, flags_errors=flags_errors).of(messages)


class _CallIds:
    """Ids that a provider knows the calls of a conversation by, each one once.

    They are its own where they do not repeat, and ours otherwise. The ids of earlier calls never
    change as the conversation grows: the provider's cache has their bytes.
    """

    def __init__(self) -> None:
        self._by_call: dict[str, str] = {}
        self._taken: set[str] = set()

    def add(self, call: str, own: str) -> str:
        """Return the id of a call for which the provider's own id, if any, is `own`."""
        candidate = own or call
        attempt = 0
        while candidate in self._taken:
            attempt += 1
            candidate = call if attempt == 1 else f"{call}-{attempt}"
        self._taken.add(candidate)
        self._by_call[call] = candidate
        return candidate

    def of(self, call: str) -> str:
        """Return the id of a call; empty if the conversation has no such call."""
        return self._by_call.get(call, "")


class _History:
    """One conversation as it is converted."""

    def __init__(self, provider: str, system: str, *, flags_errors: bool) -> None:
        self._provider = provider
        self._system = system
        self._flags_errors = flags_errors
        self._ids = _CallIds()

    def of(self, messages: Sequence[Message]) -> list[ModelMessage]:
        history: list[ModelMessage] = []
        for message in messages:
            if message.role == ROLE_MODEL:
                history.append(self._response(message))
            else:
                _add_request(history, [self._request_part(part) for part in message.parts])
        if history and isinstance(last := history[-1], ModelResponse):
            last.state = "suspended"  # a paused turn goes back as it is, to be continued
        _answer_all_calls(history)
        return history

    def _response(self, message: Message) -> ModelResponse:
        converted = (self._response_part(part) for part in message.parts)
        parts = [part for part in converted if part is not None]
        return ModelResponse(parts=parts, provider_name=self._system)

    def _response_part(self, part: Part) -> ModelResponsePart | None:
        converted = provider_state.decode(part, self._provider, self._system)
        if isinstance(converted, ToolCallPart):
            converted.tool_name = _name(converted.tool_name)
            converted.tool_call_id = self._ids.add(part.tool_call.call_id, converted.tool_call_id)
        return converted

    def _request_part(self, part: Part) -> ModelRequestPart:
        if not part.HasField("tool_result"):
            return UserPromptPart(content=part.text)
        result = part.tool_result
        text = _result_text(result)
        known_as = self._ids.of(result.call_id)
        if not known_as:  # a result that no call of the conversation asked for
            return UserPromptPart(content=text)
        failed = self._flags_errors and result.outcome != TOOL_OUTCOME_OK
        return ToolReturnPart(
            tool_name=_name(result.name),
            content=text if text.strip() else [],  # some providers refuse a blank text
            tool_call_id=known_as,
            outcome="failed" if failed else "success",
        )


def _add_request(history: list[ModelMessage], parts: list[ModelRequestPart]) -> None:
    """Add a request, to the one before it if there are results: they go back in one, and first."""
    last = history[-1] if history else None
    if isinstance(last, ModelRequest) and any(
        isinstance(part, ToolReturnPart) for part in (*last.parts, *parts)
    ):
        last.parts = [*last.parts, *parts]
    else:
        history.append(ModelRequest(parts=parts))


def _answer_all_calls(history: list[ModelMessage]) -> None:
    """Add a result for each call that has none: providers refuse a conversation without."""
    for number, message in enumerate(history[:-1]):
        following = history[number + 1]
        if not isinstance(message, ModelResponse) or not isinstance(following, ModelRequest):
            continue
        answered = {
            part.tool_call_id for part in following.parts if isinstance(part, ToolReturnPart)
        }
        missing = [
            ToolReturnPart(
                tool_name=part.tool_name,
                content="UNKNOWN: There is no result of this call.",
                tool_call_id=part.tool_call_id,
            )
            for part in message.parts
            if isinstance(part, ToolCallPart) and part.tool_call_id not in answered
        ]
        if missing:
            following.parts = [*missing, *following.parts]


def _result_text(result: ToolResult) -> str:
    """Return what the model is told of a call: the outcome first, unless it succeeded."""
    if result.outcome == TOOL_OUTCOME_OK:
        return result.content
    outcome = ToolOutcome.Name(result.outcome).removeprefix("TOOL_OUTCOME_")
    return f"{outcome}: {result.content}" if result.content else outcome


def _name(name: str) -> str:
    """Return a tool's name as providers take it: models call tools that do not exist."""
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME] or "unnamed"
