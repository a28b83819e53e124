"""Conversion of pydantic-ai's responses to results of model calls."""

from __future__ import annotations

import math
from dataclasses import replace

from pydantic_ai.messages import (
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.usage import RequestUsage

from ai_worker.calls.failures import CallError
from ai_worker.models import provider_state
from ai_worker.models.provider import ModelResult
from ai_worker.models.provider_errors import unreadable_answer
from ai_worker.models.provider_prices import PriceList
from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, Message, Part, ToolCall, Usage
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CONTENT_FILTERED,
    FAILURE_REASON_INVALID_OUTPUT,
)
from stigma.contracts import json_text
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    FinishReason,
)

# Tokens of one call beyond which a usage is no usage: a thousand times the largest context.
_MAX_TOKENS = 1_000_000_000
_BYTES_OF_A_TOKEN = 4


class Answers:
    """Reads the answers to one call."""

    def __init__(self, provider: str, model: str, prices: PriceList, *, has_tools: bool) -> None:
        """Remember the call.

        Args:
            provider: our name of the provider.
            model: as it is asked for.
            prices: of the provider's models.
            has_tools: whether the model may call tools.
        """
        self._provider = provider
        self._model = model
        self._prices = prices
        self._has_tools = has_tools

    def read(self, response: ModelResponse, request_bytes: int) -> ModelResult:
        """Return the result of the call.

        Raises:
            CallError: the answer was cut off, the provider's content filter stopped it, it calls a
                tool and none was offered, or its usage is none.
        """
        finish_reason = _finish_reason(response)
        parts = [self._part(part) for part in response.parts]
        if not self._has_tools:
            parts = [part for part in parts if not part.HasField("tool_call")]
            if not parts and response.tool_calls:
                raise CallError(
                    FAILURE_REASON_INVALID_OUTPUT, "the model called a tool; none was offered"
                )
        return ModelResult(
            message=Message(role=ROLE_MODEL, parts=parts),
            usage=self._usage(response, request_bytes),
            finish_reason=finish_reason,
        )

    def _part(self, part: ModelResponsePart) -> Part:
        state = provider_state.encode(part, self._provider)
        if isinstance(part, TextPart):
            return Part(text=_characters(part.content), provider_state=state)
        if isinstance(part, ThinkingPart):
            return Part(thinking=_characters(part.content), provider_state=state)
        if isinstance(part, ToolCallPart):
            call = ToolCall(
                name=_characters(part.tool_name), arguments_json=_characters(_arguments(part))
            )
            return Part(tool_call=call, provider_state=state)
        return Part(text="", provider_state=state)  # a kind that only its provider understands

    def _usage(self, response: ModelResponse, request_bytes: int) -> Usage:
        used = response.usage
        is_measured = not used.unmeasured_requests and bool(used.input_tokens or used.output_tokens)
        if not is_measured:
            used = RequestUsage(
                input_tokens=_estimate(request_bytes),
                output_tokens=_estimate(sum(map(size, response.parts))),
            )
        input_tokens = _tokens(used.input_tokens)
        read, written = _tokens(used.cache_read_tokens), _tokens(used.cache_write_tokens)
        cost = self._prices.cost_usd(self._model, replace(response, usage=used))
        return Usage(
            input_tokens=input_tokens,
            output_tokens=_tokens(used.output_tokens),
            cost_usd=cost or 0.0,
            model_calls=1,
            cache_read_tokens=min(read, input_tokens),
            cache_write_tokens=min(written, input_tokens),
            unmeasured_calls=int(not is_measured),
            unpriced_calls=int(cost is None),
        )


def size(part: ModelResponsePart) -> int:
    """Return the size of a part that a model wrote, in bytes."""
    if isinstance(part, TextPart | ThinkingPart):
        return _byte_size(part.content)
    if isinstance(part, ToolCallPart):
        return _byte_size(part.tool_name) + _byte_size(_arguments(part))
    return len(provider_state.encode(part, ""))


def _byte_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _arguments(call: ToolCallPart) -> str:
    """Return the text of a call's arguments, as the model gave it."""
    if call.args is None or isinstance(call.args, str):
        return call.args or ""
    return json_text.compact(call.args)


def _characters(text: str) -> str:
    """Return a text whose surrogates are whole characters: servers cut between the two of a pair.

    Raises:
        CallError: there is half of a pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise unreadable_answer("half of a surrogate pair is no character") from None
    return text


def _estimate(size_in_bytes: int) -> int:
    return math.ceil(size_in_bytes / _BYTES_OF_A_TOKEN)


def _tokens(count: object) -> int:
    if not isinstance(count, int) or not 0 <= count <= _MAX_TOKENS:
        raise unreadable_answer("its usage is out of range")
    return count


def _finish_reason(response: ModelResponse) -> FinishReason.ValueType:
    """Return why the model ended; calls of tools count whatever it is.

    Raises:
        CallError: it has not ended, or the provider's content filter ended it.
    """
    if response.state == "suspended":
        return FINISH_REASON_PAUSE
    if response.finish_reason == "content_filter" and not response.tool_calls:
        raise CallError(
            FAILURE_REASON_CONTENT_FILTERED, "the provider's content filter stopped the answer"
        )
    # The provider's own word: pydantic-ai takes a stream without one for complete.
    details = response.provider_details or {}
    if not details.get("finish_reason") and response.finish_reason != "content_filter":
        raise unreadable_answer("it was cut off")
    return FINISH_REASON_LENGTH if response.finish_reason == "length" else FINISH_REASON_STOP
