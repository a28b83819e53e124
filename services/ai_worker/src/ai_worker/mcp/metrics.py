"""Prometheus metrics of calls of MCP servers' tools. Servers are the operator's: few."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)


class McpMetrics:
    """Counts calls and seconds by server, and connections."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "stigma_mcp_calls",
            "Calls of MCP servers' tools by outcome: OK, ERROR, NOT_RUN, UNKNOWN or CANCELLED; and "
            "answers that are none yet: ASKED or TASK.",
            ("server", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "stigma_mcp_call_duration_seconds",
            "Duration of calls of MCP servers' tools, waiting for the server included.",
            ("server",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._connections = Counter(
            "stigma_mcp_connections",
            "Connections to MCP servers that were opened, and failed to open.",
            ("server", "outcome"),
            registry=registry,
        )

    def ended(self, server: str, outcome: str, seconds: float) -> None:
        """Count a call that ended."""
        self._calls.labels(server, outcome).inc()
        self._seconds.labels(server).observe(seconds)

    def connected(self, server: str, *, failed: bool) -> None:
        """Count a connection."""
        self._connections.labels(server, "FAILED" if failed else "OPENED").inc()
