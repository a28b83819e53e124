"""Model providers over HTTP, through pydantic-ai.

One call is one HTTP request, whose answer is streamed. The SDKs' own retries are off, since
Temporal retries. pydantic-ai is known to this module and those named `provider_…` only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
from genai_prices.data_snapshot import get_snapshot
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPartDelta,
    ToolCallPartDelta,
)
from pydantic_ai.models import Model

from ai_worker.calls.failures import CallError
from ai_worker.models import partial_text
from ai_worker.models.bounded_http import EXCHANGE, BoundedClient, Exchange
from ai_worker.models.provider import ModelResult, ToolDefinition
from ai_worker.models.provider_answers import Answers, size
from ai_worker.models.provider_errors import classify_error, unreadable_answer
from ai_worker.models.provider_messages import message_history
from ai_worker.models.provider_parameters import model_settings, request_parameters
from ai_worker.models.provider_prices import PriceList, context_window
from ai_worker.models.whole_answers import completion_events, message_events
from ai_worker.resources import ProviderResource
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_COST_LIMIT,
    FAILURE_REASON_TOO_LARGE,
    FAILURE_REASON_UNKNOWN_MODEL,
)
from stigma.contracts.limits import MAX_PAYLOAD_BYTES
from stigma.internal.v1.execution_pb2 import ModelCallRequest

CONNECT_TIMEOUT = timedelta(seconds=10)
OTHER_MODEL = "other"

# They log requests, prompts included, at DEBUG.
_TALKATIVE_LOGGERS = ("openai", "anthropic", "httpx2", "httpcore2")

# Parts of one answer, such as calls of tools: so many cost 10 s of CPU, twice as many 40.
_MAX_PARTS = 10_000

ModelFactory = Callable[[str], Model[Any]]


class HttpProvider:
    """A provider over HTTP, with its own connections, which it keeps until closed."""

    def __init__(self, resource: ProviderResource, max_connections: int) -> None:
        for name in _TALKATIVE_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self.name = resource.name
        self.timeout = resource.timeout
        self._resource = resource
        # No read timeout: the activity bounds a call as a whole. No redirects: they carry the key.
        self._http = BoundedClient(
            message_events if resource.type == "anthropic" else completion_events,
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT.total_seconds()),
            limits=httpx2.Limits(
                max_connections=max_connections, max_keepalive_connections=max_connections
            ),
            follow_redirects=False,
        )
        self._prices = PriceList(resource.prices)
        self._build = _model_factory(resource, self._http)

    def model_label(self, model: str) -> str:
        """Return the name as listed in the resource or the price list, else "other"."""
        if model in self._resource.models or model in self._resource.prices:
            return model
        try:
            _, known = get_snapshot().find_provider_model(model, None, self._resource.type, None)
        except LookupError:
            return OTHER_MODEL
        return known.id

    def knows_price(self, model: str) -> bool:
        """Return whether the operator or the price list has the model's price.

        Raises:
            CallError: the provider does not offer the model.
        """
        return self._prices.has(self._target(model))

    async def call(
        self,
        model: str,
        request: ModelCallRequest,
        attempt: int,  # noqa: ARG002
        tools: Sequence[ToolDefinition],
    ) -> ModelResult:
        """Call a model once: one HTTP request, closed when the task is cancelled.

        Raises:
            CallError: it did not succeed; its message is ours and a code of the provider's.
        """
        target = self._target(model)
        if request.price_required and not self._prices.has(target):
            raise CallError(
                FAILURE_REASON_COST_LIMIT,
                f"the agent has a cost limit, and the price of {_shown(model)} is not known",
            )
        EXCHANGE.set(exchange := Exchange())
        try:
            response = await self._stream(target, request, tools)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote the prompt
            names = [tool.name for tool in tools]
            raise classify_error(error, answered=exchange.answered, tools=names) from None
        answers = Answers(self.name, model, self._prices, has_tools=bool(tools))
        try:
            result = answers.read(response, exchange.request_bytes)
            return replace(result, context_window=context_window(target))
        except CallError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the answer made it
            raise unreadable_answer() from None

    def _target(self, model: str) -> Model[Any]:
        if self._resource.models and model not in self._resource.models:
            raise CallError(
                FAILURE_REASON_UNKNOWN_MODEL, f"provider {self.name!r} does not offer this model"
            )
        return self._build(model)

    async def _stream(
        self, target: Model[Any], request: ModelCallRequest, tools: Sequence[ToolDefinition]
    ) -> ModelResponse:
        """Read an answer to its end, or to where it is too large to be carried."""
        parameters = request_parameters(request, tools, target)
        history = message_history(
            request.messages,
            self.name,
            target.system,
            flags_errors=self._resource.type == "anthropic",
        )
        messages = target.prepare_messages(history, parameters)
        async with target.request_stream(messages, model_settings(request), parameters) as stream:
            received = parts = 0
            async for event in stream:
                received += _size(event)
                partial_text.report(_text(event))
                parts += isinstance(event, PartStartEvent)
                _check_size(received, parts)
        return stream.get()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _size(event: ModelResponseStreamEvent) -> int:
    """Return the size of what an event adds to the answer, in characters."""
    if isinstance(event, PartStartEvent):
        return size(event.part)
    if isinstance(event, PartDeltaEvent):
        delta = event.delta
        if isinstance(delta, TextPartDelta | ThinkingPartDelta):
            return len(delta.content_delta or "")
        if isinstance(delta, ToolCallPartDelta):
            return len(delta.args_delta or "")
    return 0


def _text(event: ModelResponseStreamEvent) -> str:
    """Return the text that an event adds to the answer; reasoning and arguments are none."""
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    return ""


def _check_size(received: int, parts: int) -> None:
    if received > MAX_PAYLOAD_BYTES:
        raise CallError(
            FAILURE_REASON_TOO_LARGE,
            f"the answer has over {MAX_PAYLOAD_BYTES} bytes, the most that can be carried",
        )
    if parts > _MAX_PARTS:
        raise CallError(
            FAILURE_REASON_TOO_LARGE, f"the answer has over {_MAX_PARTS} parts, such as tool calls"
        )


def _shown(model: str) -> str:
    return repr(" ".join(model.split())[:80])


def _model_factory(resource: ProviderResource, http: httpx2.AsyncClient) -> ModelFactory:
    # Each SDK takes a second or two to import: only those in use are.
    if resource.type == "anthropic":
        from ai_worker.models.provider_anthropic import anthropic_models  # noqa: PLC0415

        return anthropic_models(resource, http)
    from ai_worker.models.provider_openai import openai_models  # noqa: PLC0415

    return openai_models(resource, http)
