"""The activity that calls a model once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from opentelemetry.trace import Span
from temporalio import activity
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.calls.heartbeats import heartbeats
from ai_worker.calls.observed_call import SUCCESS, ObservedCall
from ai_worker.models.catalog import Catalog
from ai_worker.models.metrics import ModelCallMetrics, ModelLabels
from ai_worker.models.output import Output, OutputSchema
from ai_worker.models.provider import ModelResult, Provider
from ai_worker.models.tracing import model_call_span, record_failure, record_result
from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_MODEL_TIMEOUT,
    FAILURE_REASON_TOO_LARGE,
)
from stigma.contracts.activities import CALL_MODEL, ModelActivities
from stigma.contracts.limits import MAX_PAYLOAD_BYTES
from stigma.contracts.payloads import json_size_if_over
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    ModelCallRequest,
    ModelCallResponse,
)


class ModelCalls(ModelActivities):
    """Calls models of the catalog's providers."""

    def __init__(self, catalog: Catalog, metrics: ModelCallMetrics) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    @override
    @activity.defn(name=CALL_MODEL)
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        try:
            with model_call_span(request) as span:
                async with heartbeats():
                    return await self._call(request, span)
        except CallError as error:
            # Without the cause: it may quote what was sent.
            raise error.to_application_error() from None

    async def _call(self, request: ModelCallRequest, span: Span) -> ModelCallResponse:
        call = _ModelCall(request, span, self._metrics, self._logger)
        with call.observed():
            provider, model = self._catalog.resolve(request.model)
            call.labels = ModelLabels(provider.name, provider.model_label(model))
            schema = OutputSchema(request.output_schema) if request.output_schema else None
            result = await _call_within_timeout(provider, model, request)
            call.responded(result)
            return _response(result, schema)


async def _call_within_timeout(
    provider: Provider, model: str, request: ModelCallRequest
) -> ModelResult:
    seconds = _timeout(provider, request).total_seconds()
    try:
        async with asyncio.timeout(seconds) as limit:
            return await provider.call(model, request, activity.info().attempt)
    except TimeoutError:
        if not limit.expired():
            raise
        raise CallError(FAILURE_REASON_MODEL_TIMEOUT, f"no answer within {seconds:g} s") from None


def _timeout(provider: Provider, request: ModelCallRequest) -> timedelta:
    requested = request.settings.request_timeout.ToTimedelta()
    return min(requested, provider.timeout) if requested > timedelta() else provider.timeout


def _response(result: ModelResult, schema: OutputSchema | None) -> ModelCallResponse:
    paused = result.finish_reason == FINISH_REASON_PAUSE
    output = schema.check(result.text) if schema and not paused else Output()
    response = ModelCallResponse(
        message=result.message,
        usage=result.usage,
        finish_reason=result.finish_reason,
        output_json=output.json,
        output_error=output.error,
    )
    if size := json_size_if_over(MAX_PAYLOAD_BYTES, response):
        raise CallError(
            FAILURE_REASON_TOO_LARGE,
            f"the answer is {size} bytes encoded; the limit is {MAX_PAYLOAD_BYTES}",
        )
    return response


class _ModelCall(ObservedCall):
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
