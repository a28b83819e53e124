"""Models of OpenAI's chat completions and of compatible servers; importing this takes a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from openai import AsyncOpenAI
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDeltaToolCall
from pydantic_ai.messages import ModelResponseStreamEvent
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


@dataclass
class _StreamedResponse(OpenAIStreamedResponse):
    """An answer of a server that is perhaps merely compatible."""

    _started: dict[int, str] = field(default_factory=dict, init=False)
    """Ids of the calls by their places in the answer."""
    _places: dict[int, int] = field(default_factory=dict, init=False)
    """Places of the newest calls by the servers' indices."""

    @override
    def _add_usage(self, usage: RequestUsage, *, reported: bool, cumulative: bool = False) -> None:
        if reported:  # the last one counts: some servers send it with every chunk
            super()._add_usage(usage, reported=True, cumulative=True)

    @override
    def _map_tool_call_delta(self, choice: Choice) -> Iterable[ModelResponseStreamEvent]:
        for delta in choice.delta.tool_calls or ():
            self._renumber(delta)
        return super()._map_tool_call_delta(choice)

    def _renumber(self, delta: ChoiceDeltaToolCall) -> None:
        """Give a call a place of its own: some servers give all calls the same index."""
        place = self._places.get(delta.index)
        is_named = delta.function is not None and delta.function.name
        if place is None or (is_named and delta.id and delta.id != self._started[place]):
            place = self._places[delta.index] = len(self._started)
            self._started[place] = delta.id or ""
        delta.index = place


class _ChatModel(OpenAIChatModel):
    """A model whose answers are read as above."""

    @property
    @override
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _StreamedResponse
