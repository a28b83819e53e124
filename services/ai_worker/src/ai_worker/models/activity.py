"""The activity that calls a model once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog
from opentelemetry.trace import Span
from temporalio import activity

from ai_worker.calls.failures import ModelCallError
from ai_worker.calls.heartbeats import heartbeats
from ai_worker.models.catalog import Catalog
from ai_worker.models.metrics import CANCELLED, SUCCESS, ModelCallMetrics, ModelLabels
from ai_worker.models.output import Output, OutputSchema
from ai_worker.models.provider import Answer, Provider
from ai_worker.models.tracing import model_call_span, span_answered, span_failed
from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_MODEL_TIMEOUT,
    FAILURE_REASON_TOO_LARGE,
)
from stigma.contracts.activities import CALL_MODEL, ModelActivities
from stigma.contracts.errors import reason_name
from stigma.contracts.limits import MAX_PAYLOAD_BYTES
from stigma.contracts.payloads import json_size_over
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

    @activity.defn(name=CALL_MODEL)
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        """Call a model once; see `ModelActivities.call_model`."""
        try:
            with model_call_span(request) as span:
                async with heartbeats():
                    return await self._call(request, span)
        except ModelCallError as error:
            # Without the cause: it may quote what was sent.
            raise error.to_application_error() from None

    async def _call(self, request: ModelCallRequest, span: Span) -> ModelCallResponse:
        call = _ObservedCall(request, span, self._metrics, self._logger)
        with call.observed():
            provider, model = self._catalog.resolve(request.model)
            call.labels = ModelLabels(provider.name, provider.model_label(model))
            schema = OutputSchema(request.output_schema) if request.output_schema else None
            answer = await _answer(provider, model, request)
            call.answered(answer)
            return _response(answer, schema)


async def _answer(provider: Provider, model: str, request: ModelCallRequest) -> Answer:
    """Call the provider within the time that a call may take."""
    seconds = _timeout(provider, request).total_seconds()
    try:
        async with asyncio.timeout(seconds) as limit:
            return await provider.call(model, request, activity.info().attempt)
    except TimeoutError:
        if not limit.expired():
            raise
        raise ModelCallError(
            FAILURE_REASON_MODEL_TIMEOUT, f"no answer within {seconds:g} s"
        ) from None


def _timeout(provider: Provider, request: ModelCallRequest) -> timedelta:
    asked = request.settings.request_timeout.ToTimedelta()
    return min(asked, provider.timeout) if asked > timedelta() else provider.timeout


def _response(answer: Answer, schema: OutputSchema | None) -> ModelCallResponse:
    paused = answer.finish_reason == FINISH_REASON_PAUSE
    output = schema.check(answer.text) if schema and not paused else Output()
    response = ModelCallResponse(
        message=answer.message,
        usage=answer.usage,
        finish_reason=answer.finish_reason,
        output_json=output.json,
        output_error=output.error,
    )
    if size := json_size_over(MAX_PAYLOAD_BYTES, response):
        raise ModelCallError(
            FAILURE_REASON_TOO_LARGE,
            f"the answer is {size} bytes encoded; the limit is {MAX_PAYLOAD_BYTES}",
        )
    return response


class _ObservedCall:
    """Logs, counts and traces one call."""

    def __init__(
        self, request: ModelCallRequest, span: Span, metrics: ModelCallMetrics, logger: Any
    ) -> None:
        info = activity.info()
        self.labels = ModelLabels()
        self._usage = Usage()
        self._span = span
        self._metrics = metrics
        self._logger = logger.bind(
            execution_id=request.execution_id,
            request_id=request.request_id,
            agent=request.agent_id,
            workflow_id=info.workflow_id,
            run_id=info.workflow_run_id,
            activity_id=info.activity_id,
            step=request.step,
            attempt=info.attempt,
            model=request.model,
        )

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Say that the call starts, and how it ends."""
        started = time.monotonic()
        self._logger.info("model_call_started")
        try:
            yield
        except ModelCallError as error:
            self._failed(reason_name(error.reason), time.monotonic() - started, error)
            raise
        except asyncio.CancelledError:
            self._failed(CANCELLED, time.monotonic() - started)
            raise
        except Exception as error:  # noqa: BLE001
            # A bug of ours; its text may quote content, so only its class leaves this process.
            bug = ModelCallError(FAILURE_REASON_INTERNAL, f"unexpected {type(error).__name__}")
            self._failed(reason_name(bug.reason), time.monotonic() - started, bug)
            raise bug from None
        else:
            self._completed(time.monotonic() - started)

    def answered(self, answer: Answer) -> None:
        """Count what the call used, whatever becomes of its answer."""
        self._usage = answer.usage
        self._metrics.used(self.labels, answer.usage)
        span_answered(self._span, answer)

    def _completed(self, seconds: float) -> None:
        self._metrics.ended(self.labels, SUCCESS, seconds)
        self._logger.info(
            "model_call_completed",
            duration_seconds=round(seconds, 6),
            input_tokens=self._usage.input_tokens,
            output_tokens=self._usage.output_tokens,
            cost_usd=self._usage.cost_usd,
        )

    def _failed(self, reason: str, seconds: float, error: ModelCallError | None = None) -> None:
        self._metrics.ended(self.labels, reason, seconds)
        span_failed(self._span, reason)
        self._logger.warning(
            "model_call_failed",
            duration_seconds=round(seconds, 6),
            reason=reason,
            error=error.message if error else "cancelled",
            retryable=bool(error and error.retryable),
        )
