"""One call of a model: observed, bounded in time, and alive by heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from opentelemetry.trace import Span
from temporalio import activity
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.calls.heartbeats import heartbeats
from ai_worker.calls.observed_call import SUCCESS, ObservedCall
from ai_worker.models.catalog import Catalog
from ai_worker.models.metrics import ModelCallMetrics, ModelLabels
from ai_worker.models.partial_text import reported_to
from ai_worker.models.provider import ModelResult, Provider, ToolDefinition
from ai_worker.models.tracing import model_call_span, record_failure, record_result
from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_MODEL_TIMEOUT
from stigma.contracts.partial_text import PartialText
from stigma.internal.v1.execution_pb2 import ModelCallRequest

R = TypeVar("R")


class ModelCaller:
    """Calls models of the catalog's providers, from within an activity."""

    def __init__(self, catalog: Catalog, metrics: ModelCallMetrics) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    async def call(
        self,
        request: ModelCallRequest,
        tools: Sequence[ToolDefinition],
        respond: Callable[[ModelResult], R],
    ) -> R:
        """Call a model once, and return what `respond` makes of its result.

        Raises:
            CallError: the call failed, or `respond` did.
        """
        partial_text = _partial_text(request)
        with model_call_span(request) as span, reported_to(partial_text):
            async with heartbeats(partial_text.details if partial_text else None):
                call = _ObservedModelCall(request, span, self._metrics, self._logger)
                with call.observed():
                    provider, model = self._catalog.resolve(request.model)
                    call.labels = ModelLabels(provider.name, provider.model_label(model))
                    result = await _call_within_timeout(provider, model, request, tools)
                    call.responded(result)
                    return respond(result)

    def knows_price(self, reference: str) -> bool:
        """Return whether the cost of calls of "provider:model" can be told.

        Raises:
            CallError: there is no such model.
        """
        provider, model = self._catalog.resolve(reference)
        return provider.knows_price(model)


def _partial_text(request: ModelCallRequest) -> PartialText | None:
    if not request.partial_text:
        return None
    return PartialText(request.step, activity.info().attempt)


async def _call_within_timeout(
    provider: Provider, model: str, request: ModelCallRequest, tools: Sequence[ToolDefinition]
) -> ModelResult:
    seconds = _timeout(provider, request).total_seconds()
    try:
        async with asyncio.timeout(seconds) as limit:
            return await provider.call(model, request, activity.info().attempt, tools)
    except TimeoutError:
        if not limit.expired():
            raise
        raise CallError(FAILURE_REASON_MODEL_TIMEOUT, f"no answer within {seconds:g} s") from None


def _timeout(provider: Provider, request: ModelCallRequest) -> timedelta:
    requested = request.settings.request_timeout.ToTimedelta()
    return min(requested, provider.timeout) if requested > timedelta() else provider.timeout


class _ObservedModelCall(ObservedCall):
    """One model call, counted for a model and traced by a span."""

    def __init__(
        self, request: ModelCallRequest, span: Span, metrics: ModelCallMetrics, logger: Any
    ) -> None:
        super().__init__(
            "model_call",
            logger,
            execution_id=request.execution_id,
            request_id=request.request_id,
            agent=request.agent_id,
            step=request.step,
            model=request.model,
        )
        self.labels = ModelLabels()
        self._usage = Usage()
        self._span = span
        self._metrics = metrics

    def responded(self, result: ModelResult) -> None:
        """Count what the call used, whether or not its result is valid."""
        self._usage = result.usage
        self._metrics.used(self.labels, result.usage)
        record_result(self._span, result)

    @override
    def ended(self, outcome: str, seconds: float) -> None:
        self._metrics.ended(self.labels, outcome, seconds)
        if outcome != SUCCESS:
            record_failure(self._span, outcome)

    @override
    def usage_fields(self) -> Mapping[str, Any]:
        return {
            "input_tokens": self._usage.input_tokens,
            "output_tokens": self._usage.output_tokens,
            # null: not known, which is not 0
            "cost_usd": None if self._usage.unpriced_calls else self._usage.cost_usd,
        }
