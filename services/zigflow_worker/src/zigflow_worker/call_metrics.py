"""Prometheus metrics of calls of the outside, counted by attempts of their activities."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from typing_extensions import override

from stigma.contracts.engine_calls import CALL_GRPC, CALL_HTTP, CALL_OPENAPI, FETCH_RESOURCE
from zigflow_worker.errors import (
    AUTHENTICATION,
    AUTHORIZATION,
    COMMUNICATION,
    CONFIGURATION,
    EXPRESSION,
    RUNTIME,
    VALIDATION,
)
from zigflow_worker.metrics import CANCELLED, COMPLETED

_BROKEN = "runtime"

_CALLS = {
    CALL_HTTP: "http",
    CALL_OPENAPI: "openapi",
    CALL_GRPC: "grpc",
    FETCH_RESOURCE: "resource",
}
_FAILURES: dict[str | None, str] = {
    error.uri: error.uri.rpartition("/")[2]
    for error in (
        *(AUTHENTICATION, AUTHORIZATION, COMMUNICATION, CONFIGURATION),
        *(EXPRESSION, VALIDATION, RUNTIME),
    )
}
# From an answer of a neighbour to the longest that a call may take.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class CallMetrics(Interceptor):
    """Counts and times calls by kind; an interceptor of the engine's worker.

    Labels are kinds and outcomes alone: no address, name or text of a call.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "zigflow_calls_total",
            "Calls of the outside by outcome: completed, cancelled or the type of the error.",
            ["call", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "zigflow_call_duration_seconds",
            "Time of a call of the outside, whatever its outcome.",
            ["call"],
            buckets=_SECONDS,
            registry=registry,
        )
        for call in _CALLS.values():
            self._seconds.labels(call)
            for outcome in (COMPLETED, CANCELLED, *_FAILURES.values()):
                self._calls.labels(call, outcome)

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self)

    def count(self, call: str, outcome: str, seconds: float) -> None:
        """Count a call that has ended."""
        self._calls.labels(call, outcome).inc()
        self._seconds.labels(call).observe(seconds)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, metrics: CallMetrics) -> None:
        super().__init__(following)
        self._metrics = metrics

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        call = _CALLS.get(activity.info().activity_type)
        if call is None:
            return await super().execute_activity(input)
        began = time.monotonic()
        outcome = COMPLETED
        try:
            return await super().execute_activity(input)
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            self._metrics.count(call, outcome, time.monotonic() - began)


def _outcome(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError) or activity.is_worker_shutdown():
        return CANCELLED
    if isinstance(error, ApplicationError):
        return _FAILURES.get(error.type, _BROKEN)
    return _BROKEN
