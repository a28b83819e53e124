"""Conversion of model calls to pydantic-ai's messages, and of its responses to ours.

What a provider wants back verbatim travels as `Part.provider_state`.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import (
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from ai_worker.calls.failures import CallError
from ai_worker.models.output import OutputSchema
from ai_worker.models.provider import ModelResult
from ai_worker.models.provider_errors import unreadable_answer
from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, Message, Part, Usage
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CONTENT_FILTERED,
    FAILURE_REASON_INVALID_OUTPUT,
    FAILURE_REASON_TOO_LARGE,
)
from stigma.contracts.limits import MAX_PAYLOAD_BYTES
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    FinishReason,
    ModelCallRequest,
)

# Tokens of one call beyond which a usage is no usage: a thousand times the largest context.
_MAX_TOKENS = 1_000_000_000
_CARRIED = (TextPart, ThinkingPart)


def model_settings(request: ModelCallRequest) -> ModelSettings:
    """Return the settings that the request has; the provider's defaults apply otherwise."""
    settings = ModelSettings()
    if request.settings.HasField("temperature"):
        settings["temperature"] = request.settings.temperature
    if request.settings.HasField("top_p"):
        settings["top_p"] = request.settings.top_p
    if request.settings.HasField("max_tokens"):
        settings["max_tokens"] = request.settings.max_tokens
    return settings


def request_parameters(request: ModelCallRequest, model: Model[Any]) -> ModelRequestParameters:
    """Return the instructions and, where the model supports it, native structured output."""
    instructions = request.instructions
    if not request.output_schema:
        return ModelRequestParameters(instruction_parts=_instruction_parts(instructions))
    schema = OutputSchema(request.output_schema)
    # In words too: servers that are merely compatible ignore `response_format`.
    parameters = ModelRequestParameters(
        instruction_parts=_instruction_parts(
            # One part: of two, servers get two system messages, and some refuse the second.
            "\n\n".join(filter(None, (instructions, schema.instructions)))
        )
    )
    if schema.document.get("type") != "object":
        return parameters
    if not model.profile.get("supports_json_schema_output", False):
        return parameters
    return replace(
        parameters,
        output_mode="native",
        output_object=OutputObjectDefinition(json_schema=deepcopy(schema.document), name="output"),
    )


def message_history(request: ModelCallRequest, provider: str, system: str) -> list[ModelMessage]:
    """Return the conversation.

    Args:
        request: the model call.
        provider: our name of the provider, as in `Part.provider_state`.
        system: pydantic-ai's name of it.
    """
    history: list[ModelMessage] = []
    for message in request.messages:
        if message.role == ROLE_MODEL:
            converted = (_response_part(part, provider, system) for part in message.parts)
            parts = [part for part in converted if part is not None]
            history.append(ModelResponse(parts=parts, provider_name=system))
        else:
            history.append(
                ModelRequest(parts=[UserPromptPart(content=part.text) for part in message.parts])
            )
    if history and isinstance(last := history[-1], ModelResponse):
        last.state = "suspended"  # a paused turn goes back as it is, to be continued
    return history


def model_result(response: ModelResponse, provider: str) -> ModelResult:
    """Return the result of a call.

    Raises:
        CallError: the provider's content filter stopped the answer, it is too large to carry, it
            asks for a tool, or its usage is none.
    """
    finish_reason = _finish_reason(response)
    size = sum(len(part.content) for part in response.parts if isinstance(part, _CARRIED))
    if size > MAX_PAYLOAD_BYTES:  # before it is copied, and checked against a schema
        raise CallError(
            FAILURE_REASON_TOO_LARGE,
            f"the answer has {size} characters; the limit is {MAX_PAYLOAD_BYTES} bytes",
        )
    parts = _parts(response, provider)
    if not parts and response.tool_calls:
        raise CallError(FAILURE_REASON_INVALID_OUTPUT, "the model called a tool; none was offered")
    cost = _cost_usd(response)
    return ModelResult(
        message=Message(role=ROLE_MODEL, parts=parts),
        usage=Usage(
            input_tokens=_tokens(response.usage.input_tokens),
            output_tokens=_tokens(response.usage.output_tokens),
            cost_usd=cost or 0.0,
            model_calls=1,
            unpriced_calls=int(cost is None),
        ),
        finish_reason=finish_reason,
    )


def _tokens(count: object) -> int:
    if not isinstance(count, int) or not 0 <= count <= _MAX_TOKENS:
        raise unreadable_answer("its usage is out of range")
    return count


def _instruction_parts(text: str) -> list[InstructionPart]:
    return [InstructionPart(content=text)] if text else []


def _response_part(part: Part, provider: str, system: str) -> TextPart | ThinkingPart | None:
    """Return a part as this provider left it; without its state for another provider."""
    state = _own_state(part, provider)
    if part.HasField("text"):
        return TextPart(
            content=part.text,
            id=state.get("id"),
            provider_name=system if state else None,
            provider_details=state.get("details"),
        )
    if not state:
        return None  # reasoning goes back only to who signed or labelled it
    return ThinkingPart(
        content=part.thinking,
        id=state.get("id"),
        signature=state.get("signature"),
        provider_name=system,
        provider_details=state.get("details"),
    )


def _own_state(part: Part, provider: str) -> dict[str, Any]:
    if not part.provider_state:
        return {}
    state: dict[str, Any] = json.loads(part.provider_state)
    return state if state.get("provider") == provider else {}


def _parts(response: ModelResponse, provider: str) -> list[Part]:
    parts: list[Part] = []
    for part in response.parts:
        if isinstance(part, TextPart):
            state = _without_empty(id=part.id, details=part.provider_details)
            parts.append(Part(text=part.content, provider_state=_encode_state(provider, state)))
        elif isinstance(part, ThinkingPart):
            state = _without_empty(
                id=part.id, signature=part.signature, details=part.provider_details
            )
            parts.append(Part(thinking=part.content, provider_state=_encode_state(provider, state)))
    return parts


def _without_empty(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _encode_state(provider: str, state: dict[str, Any]) -> bytes:
    """Encode a part's state with the name of the provider that it goes back to."""
    if not state:
        return b""
    return json.dumps(
        {"provider": provider, **state}, sort_keys=True, separators=(",", ":")
    ).encode()


def _finish_reason(response: ModelResponse) -> FinishReason.ValueType:
    if response.state == "suspended":
        return FINISH_REASON_PAUSE
    match response.finish_reason:
        case "content_filter":
            raise CallError(
                FAILURE_REASON_CONTENT_FILTERED, "the provider's content filter stopped the answer"
            )
        case "length":
            return FINISH_REASON_LENGTH
        case _:
            return FINISH_REASON_STOP


def has_price(target: Model[Any]) -> bool:
    """Return whether the price list of this release has the model."""
    call = ModelResponse(
        parts=[],
        usage=RequestUsage(input_tokens=1, output_tokens=1),
        model_name=target.model_name,
        provider_name=target.system,
        provider_url=target.base_url,
    )
    return _cost_usd(call) is not None


def _cost_usd(response: ModelResponse) -> float | None:
    """Return a call's cost; None: its model is not in the price list, or its usage is empty."""
    if not response.model_name or not response.usage.has_values():
        return None
    try:
        return float(response.cost().total_price)
    except (LookupError, ValueError):
        return None
