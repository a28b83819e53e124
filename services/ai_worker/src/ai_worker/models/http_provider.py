"""Model providers over HTTP, through pydantic-ai.

One call is one HTTP request: the SDKs' own retries are off, since Temporal retries. pydantic-ai is
known to this module, `provider_messages` and `provider_errors` only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import httpx2
from genai_prices.data_snapshot import get_snapshot
from pydantic_ai.direct import model_request
from pydantic_ai.models import Model

from ai_worker.calls.failures import CallError
from ai_worker.models.bounded_http import EXCHANGE, BoundedClient, Exchange
from ai_worker.models.provider import ModelResult, ToolDefinition
from ai_worker.models.provider_errors import classify_error, unreadable_answer
from ai_worker.models.provider_messages import (
    has_price,
    message_history,
    model_result,
    model_settings,
    request_parameters,
)
from ai_worker.resources import ProviderResource
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_COST_LIMIT, FAILURE_REASON_UNKNOWN_MODEL
from stigma.internal.v1.execution_pb2 import ModelCallRequest

CONNECT_TIMEOUT = timedelta(seconds=10)
OTHER_MODEL = "other"

# They log requests, prompts included, at DEBUG.
_TALKATIVE_LOGGERS = ("openai", "anthropic", "httpx2", "httpcore2")

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

    async def call(
        self,
        model: str,
        request: ModelCallRequest,
        attempt: int,  # noqa: ARG002
        tools: Sequence[ToolDefinition],  # noqa: ARG002
    ) -> ModelResult:
        """Call a model once: one HTTP request, closed when the task is cancelled.

        Raises:
            CallError: it did not succeed; its message is ours and a code of the provider's.
        """
        if self._resource.models and model not in self._resource.models:
            raise CallError(
                FAILURE_REASON_UNKNOWN_MODEL, f"provider {self.name!r} does not offer this model"
            )
        target = self._build(model)
        if request.price_required and not has_price(target):
            raise CallError(
                FAILURE_REASON_COST_LIMIT,
                f"the agent has a cost limit, and the price of {_shown(model)} is not known",
            )
        history = message_history(request, self.name, target.system)
        parameters = request_parameters(request, target)
        EXCHANGE.set(exchange := Exchange())
        try:
            response = await model_request(
                target,
                history,
                model_settings=model_settings(request),
                model_request_parameters=parameters,
                instrument=False,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote the prompt
            raise classify_error(error, answered=exchange.answered) from None
        try:
            return model_result(response, self.name)
        except CallError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the answer made it
            raise unreadable_answer() from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _shown(model: str) -> str:
    return repr(" ".join(model.split())[:80])


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
