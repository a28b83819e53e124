"""Prometheus metrics of deliveries."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from temporalio.service import RPCStatusCode

_SERVICE = "stigma_orchestrator"


class CallbackMetrics:
    """Counts and times deliveries to waiting activities."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._completions = Counter(
            "external_activity_completions_total",
            "Deliveries to waiting activities",
            ["status", "service"],
            registry=registry,
        )
        self._duration = Histogram(
            "external_activity_completion_duration_seconds",
            "Duration of the RPC that resolves a waiting activity",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._errors = Counter(
            "external_activity_errors_total",
            "Deliveries that failed, by Temporal's status code",
            ["error_type"],
            registry=registry,
        )
        # From the start on, so that the first one of a kind is an increase too.
        for status in ("success", "error"):
            self._completions.labels(status, _SERVICE)
        for code in RPCStatusCode:
            if code is not RPCStatusCode.OK:
                self._errors.labels(code.name)

    def delivered(self, seconds: float) -> None:
        """Count one resolved activity."""
        self._completions.labels("success", _SERVICE).inc()
        self._duration.observe(seconds)

    def failed(self, code: str, seconds: float) -> None:
        """Count one try that ended with a status code."""
        self._completions.labels("error", _SERVICE).inc()
        self._errors.labels(code).inc()
        self._duration.observe(seconds)
