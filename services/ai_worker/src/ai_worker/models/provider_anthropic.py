"""Models of Anthropic's API; importing this module takes a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from ai_worker.resources import ProviderResource


def anthropic_models(
    resource: ProviderResource, http: httpx2.AsyncClient
) -> Callable[[str], Model[Any]]:
    """Return a function from a model's name to the model."""
    client = AsyncAnthropic(
        api_key=resource.key, base_url=resource.base_url, http_client=http, max_retries=0
    )
    provider = AnthropicProvider(anthropic_client=client)
    return lambda model: AnthropicModel(model, provider=provider)
