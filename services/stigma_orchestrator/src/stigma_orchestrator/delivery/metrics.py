"""Prometheus metrics of deliveries."""

from __future__ import annotations

from collections.abc import Sized

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from temporalio.service import RPCStatusCode

_SERVICE = "stigma_orchestrator"
_SUCCESS, _GONE, _ERROR = "success", "gone", "error"

# Status codes that Temporal, a proxy before it or the connection answers with.
_CODES = (
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
)


def export_kept_watches(registry: CollectorRegistry, kept: Sized) -> None:
    """Export how many watches over callers a process keeps."""
    Gauge(
        "caller_watches_kept",
        "Waiting callers whose watches this process keeps; see STIGMA_MAX_KEPT_WATCHES.",
        registry=registry,
    ).set_function(lambda: len(kept))


class CallbackMetrics:
    """Counts and times attempts to resolve waiting activities."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._completions = Counter(
            "external_activity_completions_total",
            "Tries to resolve a waiting activity: success; gone, it does not wait any more; error, "
            "Temporal refused or did not answer. Those before the activity's next attempt has "
            "started are not counted.",
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
            "Tries counted as gone (NOT_FOUND) or error, by Temporal's status code. The API counts "
            "refused callback tokens by this name: ask for one job.",
            ["error_type"],
            registry=registry,
        )
        # From the start on, so that the first one of a kind is an increase too.
        for status in (_SUCCESS, _GONE, _ERROR):
            self._completions.labels(status, _SERVICE)
        for code in _CODES:
            self._errors.labels(code.name)

    def observe_rpc(self, seconds: float) -> None:
        """Observe the duration of one RPC, whatever its response."""
        self._duration.observe(seconds)

    def count_delivered(self) -> None:
        """Count one resolved activity."""
        self._completions.labels(_SUCCESS, _SERVICE).inc()

    def count_failed(self, code: RPCStatusCode) -> None:
        """Count one attempt that ended with a status code; NOT_FOUND counts as gone."""
        status = _GONE if code is RPCStatusCode.NOT_FOUND else _ERROR
        self._completions.labels(status, _SERVICE).inc()
        self._errors.labels(code.name).inc()
