"""Prometheus metrics of model calls. Label values come from bounded sets."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from stigma.agent.v1.agent_execution_pb2 import Usage

UNKNOWN = "unknown"

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)


@dataclass(frozen=True)
class ModelLabels:
    """The model that a call is counted for."""

    provider: str = UNKNOWN
    model: str = UNKNOWN


class ModelCallMetrics:
    """Counts calls, seconds, tokens and cost by provider and model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("provider", "model")
        self._calls = Counter(
            "stigma_model_calls",
            "Model calls by outcome: SUCCESS, CANCELLED or a failure reason.",
            (*labels, "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "stigma_model_call_duration_seconds",
            "Duration of model calls.",
            (*labels, "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "stigma_model_tokens",
            "Tokens read (input) and written (output) by models.",
            (*labels, "direction"),
            registry=registry,
        )
        self._cached_tokens = Counter(
            "stigma_model_cached_tokens",
            "Input tokens that providers read from their cache (read) or put into it (write).",
            (*labels, "cache"),
            registry=registry,
        )
        self._cost = Counter(
            "stigma_model_cost_usd", "Cost of model calls in US dollars.", labels, registry=registry
        )
        self._unpriced = Counter(
            "stigma_model_unpriced_calls",
            "Model calls whose cost is not known, and not in the cost.",
            labels,
            registry=registry,
        )
        self._unmeasured = Counter(
            "stigma_model_unmeasured_calls",
            "Model calls whose tokens were not reported, and are counted by their size.",
            labels,
            registry=registry,
        )

    def ended(self, labels: ModelLabels, outcome: str, seconds: float) -> None:
        """Count a call that ended; `outcome` is SUCCESS, CANCELLED or a failure reason."""
        self._calls.labels(labels.provider, labels.model, outcome).inc()
        self._seconds.labels(labels.provider, labels.model, outcome).observe(seconds)

    def used(self, labels: ModelLabels, usage: Usage) -> None:
        """Count the tokens and the cost of a call."""
        self._tokens.labels(labels.provider, labels.model, "input").inc(usage.input_tokens)
        self._tokens.labels(labels.provider, labels.model, "output").inc(usage.output_tokens)
        cached = self._cached_tokens
        cached.labels(labels.provider, labels.model, "read").inc(usage.cache_read_tokens)
        cached.labels(labels.provider, labels.model, "write").inc(usage.cache_write_tokens)
        self._cost.labels(labels.provider, labels.model).inc(usage.cost_usd)
        self._unpriced.labels(labels.provider, labels.model).inc(usage.unpriced_calls)
        self._unmeasured.labels(labels.provider, labels.model).inc(usage.unmeasured_calls)
