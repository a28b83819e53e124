"""Model providers reached over HTTP, through pydantic-ai: the only module that knows it.

One call is one HTTP request: the SDKs' own retries are off, since Temporal retries. Nothing of
pydantic-ai leaves this module; what a provider wants back verbatim travels as
`Part.provider_state`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
from genai_prices.data_snapshot import get_snapshot
from pydantic_ai import exceptions as errors
from pydantic_ai.direct import model_request
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

from ai_worker.calls.failures import ModelCallError
from ai_worker.models.output import OutputSchema
from ai_worker.models.provider import Answer
from ai_worker.resources import ProviderResource
from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, Message, Part, Usage
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_AUTHENTICATION,
    FAILURE_REASON_CONTENT_FILTERED,
    FAILURE_REASON_CONTEXT_LENGTH,
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_INVALID_REQUEST,
    FAILURE_REASON_MODEL_TIMEOUT,
    FAILURE_REASON_PROVIDER_UNAVAILABLE,
    FAILURE_REASON_RATE_LIMITED,
    FAILURE_REASON_UNKNOWN_MODEL,
    FailureReason,
)
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    FinishReason,
    ModelCallRequest,
)

CONNECT_TIMEOUT = timedelta(seconds=10)
OTHER_MODEL = "other"

# They log requests, prompts included, at DEBUG.
_TALKATIVE_LOGGERS = ("openai", "anthropic", "httpx2", "httpcore2")

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_CONTENT_FILTER_CODES = frozenset(("content_filter", "content_policy_violation"))

# First match wins: an error is an instance of its whole ancestry.
_REASONS: tuple[tuple[type[errors.ModelAPIError], FailureReason.ValueType], ...] = (
    (errors.ModelRateLimitError, FAILURE_REASON_RATE_LIMITED),
    (errors.ModelQuotaExceededError, FAILURE_REASON_RATE_LIMITED),
    (errors.ModelContextWindowExceededError, FAILURE_REASON_CONTEXT_LENGTH),
    (errors.ModelAuthenticationError, FAILURE_REASON_AUTHENTICATION),
    (errors.ModelNotFoundError, FAILURE_REASON_UNKNOWN_MODEL),
    (errors.ModelRequestRejectedError, FAILURE_REASON_INVALID_REQUEST),
    (errors.ModelTimeoutError, FAILURE_REASON_MODEL_TIMEOUT),
    (errors.ModelUnavailableError, FAILURE_REASON_PROVIDER_UNAVAILABLE),
    (errors.ModelServerError, FAILURE_REASON_PROVIDER_UNAVAILABLE),
)
# Of the statuses that no class above stands for.
_TRANSIENT_STATUSES = frozenset((408, 409, 425))

_MESSAGES: dict[FailureReason.ValueType, str] = {
    FAILURE_REASON_RATE_LIMITED: "the provider limits the rate of calls or the quota is used up",
    FAILURE_REASON_CONTEXT_LENGTH: "the conversation does not fit the model's context",
    FAILURE_REASON_AUTHENTICATION: "the provider refused the key",
    FAILURE_REASON_UNKNOWN_MODEL: "the provider does not know the model",
    FAILURE_REASON_INVALID_REQUEST: "the provider refused the request",
    FAILURE_REASON_MODEL_TIMEOUT: "the provider did not answer in time",
    FAILURE_REASON_PROVIDER_UNAVAILABLE: "the provider cannot be reached or is failing",
    FAILURE_REASON_CONTENT_FILTERED: "the provider's content filter stopped the answer",
}

ModelFactory = Callable[[str], Model[Any]]


class HttpProvider:
    """A provider over HTTP, with its own connections, which it keeps until closed."""

    def __init__(self, resource: ProviderResource, max_connections: int) -> None:
        for name in _TALKATIVE_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self.name = resource.name
        self.timeout = resource.timeout
        self._resource = resource
        # No read timeout: the caller bounds a call as a whole. No redirects: they carry the key.
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT.total_seconds()),
            limits=httpx2.Limits(
                max_connections=max_connections, max_keepalive_connections=max_connections
            ),
            follow_redirects=False,
        )
        self._build = _model_factory(resource, self._http)

    def model_label(self, model: str) -> str:
        """Return the name as listed in the resource or the price list, else "other"."""
        if model in self._resource.models:
            return model
        try:
            _, known = get_snapshot().find_provider_model(model, None, self._resource.type, None)
        except LookupError:
            return OTHER_MODEL
        return known.id

    async def call(self, model: str, request: ModelCallRequest, attempt: int) -> Answer:  # noqa: ARG002
        """Call a model once: one HTTP request, closed when the task is cancelled.

        Raises:
            ModelCallError: it did not succeed; its message is ours and a code of the provider's.
        """
        if self._resource.models and model not in self._resource.models:
            raise ModelCallError(
                FAILURE_REASON_UNKNOWN_MODEL, f"provider {self.name!r} does not offer this model"
            )
        target = self._build(model)
        history = _history(request, self.name, target.system)
        parameters = _parameters(request, target)
        try:
            response = await model_request(
                target,
                history,
                model_settings=_settings(request),
                model_request_parameters=parameters,
                instrument=False,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote the prompt
            raise _classified(error) from None
        return self._answer(response)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _answer(self, response: ModelResponse) -> Answer:
        return Answer(
            message=Message(role=ROLE_MODEL, parts=_parts(response, self.name)),
            usage=Usage(
                input_tokens=response.usage.input_tokens,
                output_tokens=response.usage.output_tokens,
                cost_usd=_cost_usd(response),
                model_calls=1,
            ),
            finish_reason=_finish_reason(response),
        )


def _model_factory(resource: ProviderResource, http: httpx2.AsyncClient) -> ModelFactory:
    # Each SDK takes a second or two to import: only those in use are.
    if resource.type == "anthropic":
        return _anthropic_models(resource, http)
    return _openai_models(resource, http)


def _anthropic_models(resource: ProviderResource, http: httpx2.AsyncClient) -> ModelFactory:
    from anthropic import AsyncAnthropic  # noqa: PLC0415
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

    client = AsyncAnthropic(
        api_key=_key(resource), base_url=resource.base_url, http_client=http, max_retries=0
    )
    provider = AnthropicProvider(anthropic_client=client)
    return lambda model: AnthropicModel(model, provider=provider)


def _openai_models(resource: ProviderResource, http: httpx2.AsyncClient) -> ModelFactory:
    from openai import AsyncOpenAI  # noqa: PLC0415
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415

    client = AsyncOpenAI(
        api_key=_key(resource), base_url=resource.base_url, http_client=http, max_retries=0
    )
    if resource.type == "openai":
        own = OpenAIProvider(openai_client=client)
        return lambda model: OpenAIChatModel(model, provider=own)
    # Another service must not learn which OpenAI organization the environment names.
    client.organization = client.project = None
    compatible = OpenAICompatibleProvider(resource.name, openai_client=client)
    return lambda model: OpenAIChatModel(model, provider=compatible)


def _key(resource: ProviderResource) -> str:
    # Without a key the SDKs would send the one in their own environment variable.
    return resource.api_key.get_secret_value() if resource.api_key else "none"


def _settings(request: ModelCallRequest) -> ModelSettings:
    settings = ModelSettings()
    if request.settings.HasField("temperature"):
        settings["temperature"] = request.settings.temperature
    if request.settings.HasField("top_p"):
        settings["top_p"] = request.settings.top_p
    if request.settings.HasField("max_tokens"):
        settings["max_tokens"] = request.settings.max_tokens
    return settings


def _parameters(request: ModelCallRequest, model: Model[Any]) -> ModelRequestParameters:
    instructions = [request.instructions] if request.instructions else []
    if not request.output_schema:
        return ModelRequestParameters(instruction_parts=_instruction_parts(instructions))
    schema = OutputSchema(request.output_schema)
    # Said in words too: servers that are merely compatible ignore `response_format`.
    parameters = ModelRequestParameters(
        instruction_parts=_instruction_parts([*instructions, schema.instructions])
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


def _instruction_parts(texts: Sequence[str]) -> list[InstructionPart]:
    return [InstructionPart(content=text) for text in texts]


def _history(request: ModelCallRequest, provider: str, system: str) -> list[ModelMessage]:
    history: list[ModelMessage] = []
    for message in request.messages:
        if message.role == ROLE_MODEL:
            parts = [
                said
                for part in message.parts
                if (said := _said(part, provider, system)) is not None
            ]
            history.append(ModelResponse(parts=parts, provider_name=system))
        else:
            history.append(
                ModelRequest(parts=[UserPromptPart(content=part.text) for part in message.parts])
            )
    if history and isinstance(last := history[-1], ModelResponse):
        last.state = "suspended"  # a paused turn goes back as it is, to be continued
    return history


def _said(part: Part, provider: str, system: str) -> TextPart | ThinkingPart | None:
    """Return a part as this provider left it, or what another provider may know of it."""
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
    for said in response.parts:
        if isinstance(said, TextPart):
            state = _state(id=said.id, details=said.provider_details)
            parts.append(Part(text=said.content, provider_state=_encoded(provider, state)))
        elif isinstance(said, ThinkingPart):
            state = _state(id=said.id, signature=said.signature, details=said.provider_details)
            parts.append(Part(thinking=said.content, provider_state=_encoded(provider, state)))
    return parts


def _state(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _encoded(provider: str, state: dict[str, Any]) -> bytes:
    """Encode what the provider wants back, and whose it is."""
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
            raise ModelCallError(
                FAILURE_REASON_CONTENT_FILTERED, "the provider's content filter stopped the answer"
            )
        case "length":
            return FINISH_REASON_LENGTH
        case _:
            return FINISH_REASON_STOP


def _cost_usd(response: ModelResponse) -> float:
    if not response.model_name:
        return 0.0
    try:
        return float(response.cost().total_price)
    except (LookupError, ValueError):
        return 0.0  # not in the price list, or the provider did not say what was used


def _classified(error: Exception) -> ModelCallError:
    """Return our own error: the provider's text is left out, since it may quote the prompt."""
    if not isinstance(error, errors.ModelAPIError):
        return _unusable(error)
    reason = _reason(error)
    codes = [code for code in (error.provider_error_type, error.provider_error_code) if _safe(code)]
    status = f"HTTP {error.status_code}" if isinstance(error, errors.ModelHTTPError) else ""
    said = ", ".join(dict.fromkeys(filter(None, [status, *codes])))
    return ModelCallError(
        reason,
        f"{_MESSAGES[reason]} ({said})" if said else _MESSAGES[reason],
        retry_after=error.retry_after,
        final=isinstance(error, errors.ModelQuotaExceededError),
    )


def _reason(error: errors.ModelAPIError) -> FailureReason.ValueType:
    if error.provider_error_code in _CONTENT_FILTER_CODES:
        return FAILURE_REASON_CONTENT_FILTERED
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.ModelHTTPError) and error.status_code not in _TRANSIENT_STATUSES:
        return FAILURE_REASON_INVALID_REQUEST
    return FAILURE_REASON_PROVIDER_UNAVAILABLE


def _unusable(error: Exception) -> ModelCallError:
    """Not an error answer: an answer that cannot be read, or a request that was never sent."""
    if isinstance(error, errors.UnexpectedModelBehavior | json.JSONDecodeError):
        return ModelCallError(
            FAILURE_REASON_PROVIDER_UNAVAILABLE, "the provider's answer cannot be read"
        )
    return ModelCallError(FAILURE_REASON_INTERNAL, f"unexpected {type(error).__name__}")


def _safe(code: str | None) -> bool:
    return bool(code and _CODE.fullmatch(code))
