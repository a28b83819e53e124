"""Models of OpenAI's chat completions and of compatible servers; importing this takes a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIStreamedResponse
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.usage import RequestUsage
from typing_extensions import override

from ai_worker.resources import ProviderResource

# Of two system messages, some servers refuse the second.
_PROFILE = OpenAIModelProfile(openai_chat_supports_multiple_system_messages=False)
_COMPATIBLE_PROFILE = OpenAIModelProfile(
    openai_chat_supports_multiple_system_messages=False,
    # Servers that are merely compatible ignore `response_format`: the schema in words too.
    native_output_requires_schema_in_instructions=True,
    # Many of their templates refuse a system message that is not the first.
    supports_inline_system_prompts=False,
)


def openai_models(
    resource: ProviderResource, http: httpx2.AsyncClient
) -> Callable[[str], Model[Any]]:
    """Return a function from a model's name to the model."""
    client = AsyncOpenAI(
        api_key=resource.key, base_url=resource.base_url, http_client=http, max_retries=0
    )
    if resource.type == "openai":
        own = OpenAIProvider(openai_client=client)
        return lambda model: _ChatModel(model, provider=own, profile=_PROFILE)
    # Another service must not learn which OpenAI organization the environment names.
    client.organization = client.project = None
    compatible = OpenAICompatibleProvider(resource.name, openai_client=client)
    return lambda model: _ChatModel(model, provider=compatible, profile=_COMPATIBLE_PROFILE)


class _StreamedResponse(OpenAIStreamedResponse):
    """An answer whose usage is the last one that it has: some servers send it with every chunk."""

    @override
    def _add_usage(self, usage: RequestUsage, *, reported: bool, cumulative: bool = False) -> None:
        if reported:
            super()._add_usage(usage, reported=True, cumulative=True)


class _ChatModel(OpenAIChatModel):
    @property
    @override
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _StreamedResponse
