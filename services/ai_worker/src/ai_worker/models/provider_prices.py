"""Costs of model calls: by the operator's prices, or else by the price list of this release."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model
from pydantic_ai.usage import RequestUsage

from ai_worker.resources import Prices


class PriceList:
    """Prices of one provider's models."""

    def __init__(self, prices: Mapping[str, Prices]) -> None:
        """`prices`: the operator's, by model."""
        self._prices = {model: _model_price(each) for model, each in prices.items()}

    def has(self, target: Model[Any]) -> bool:
        """Return whether the price of a model is known."""
        call = ModelResponse(
            parts=[],
            usage=RequestUsage(input_tokens=1, output_tokens=1),
            model_name=target.model_name,
            provider_name=target.system,
            provider_url=target.base_url,
        )
        return self.cost_usd(target.model_name, call) is not None

    def cost_usd(self, model: str, response: ModelResponse) -> float | None:
        """Return a call's cost in US dollars; None: it is not known, which is not 0.

        Args:
            model: as it was asked for; the answer may name a version of it.
            response: with its usage.
        """
        try:
            if price := self._prices.get(model):
                return float(price.calc_price(response.usage)["total_price"])
            if not response.model_name:
                return None
            return float(response.cost().total_price)
        except (LookupError, ValueError):
            return None


def context_window(target: Model[Any]) -> int:
    """Return the most tokens of one call of a model; 0 where the list does not know."""
    name, system, url = target.model_name, target.system, target.base_url
    for by in ((system, None), (None, url)):
        try:
            _, found = get_snapshot().find_provider_model(name, None, *by)
        except LookupError:
            continue
        return found.context_window or 0
    return 0


def _model_price(prices: Prices) -> ModelPrice:
    # What is cached costs as much as what is not, where the operator says nothing else.
    given = {
        "input_mtok": prices.input,
        "output_mtok": prices.output,
        "cache_read_mtok": prices.cache_read,
        "cache_write_mtok": prices.cache_write,
    }
    return ModelPrice(
        **{name: Decimal(str(price)) for name, price in given.items() if price is not None}
    )
