"""What the price list knows of models' windows."""

from __future__ import annotations

import pytest
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from ai_worker.models.provider_prices import context_window


@pytest.mark.parametrize(
    ("model", "window"), [("gpt-5", 400_000), ("gpt-5-2025-08-07", 400_000), ("house-model", 0)]
)
def test_the_window_of_a_model(model: str, window: int) -> None:
    provider = OpenAIProvider(api_key="key", base_url="http://127.0.0.1:1/v1")
    assert context_window(OpenAIChatModel(model, provider=provider)) == window


def test_the_window_of_another_providers_model() -> None:
    model = AnthropicModel("claude-sonnet-4-5", provider=AnthropicProvider(api_key="key"))
    assert context_window(model) >= 200_000
