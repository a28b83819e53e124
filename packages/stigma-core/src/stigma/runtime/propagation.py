"""The format in which a trace's context travels: W3C's, whatever the environment says.

OpenTelemetry reads OTEL_PROPAGATORS when `opentelemetry.propagate` is imported, and fails for a
format that is not installed, such as the `b3` that its operator sets on pods. This module is
imported before any other that imports it.
"""

from __future__ import annotations

import os

import structlog
from opentelemetry.environment_variables import OTEL_PROPAGATORS
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_SILENT = frozenset({"", "tracecontext", "baggage", "none"})
"""Formats of which nothing is lost: ours, and those that carry no trace."""


def warn_of_ignored_formats() -> None:
    """Log the formats of OTEL_PROPAGATORS in which no context travels."""
    configured = os.environ.get(OTEL_PROPAGATORS, "").split(",")
    ignored = sorted({one.strip() for one in configured} - _SILENT)
    if ignored:
        structlog.get_logger().warning("trace_formats_ignored", formats=ignored)


def _use_trace_context() -> None:
    configured = os.environ.pop(OTEL_PROPAGATORS, None)
    try:
        from opentelemetry import propagate  # noqa: PLC0415 - not with the environment's formats
    finally:
        if configured is not None:
            os.environ[OTEL_PROPAGATORS] = configured
    propagate.set_global_textmap(TraceContextTextMapPropagator())


_use_trace_context()
