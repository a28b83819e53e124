"""Traces: one from the caller's workflow to the model call, over gRPC and Temporal.

Nothing of it is installed, and nothing is paid, unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set (or a
test gives an exporter). Then a W3C context travels in gRPC metadata and in Temporal's headers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import grpc.aio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.instrumentation.grpc.filters import health_check, negate
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status
from opentelemetry.util.types import Attributes
from temporalio.client import Plugin
from temporalio.contrib.opentelemetry import (
    OpenTelemetryPlugin,
    ReplaySafeTracerProvider,
    create_tracer_provider,
)
from temporalio.plugin import SimplePlugin

from stigma.runtime import logging
from stigma.runtime.propagation import warn_of_ignored_formats
from stigma.runtime.redaction import Redaction
from stigma.runtime.span_ids import InheritedIds, RpcIds, TemporalIds

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_SECONDS = 5.0
_EXCEPTION = frozenset({"exception.message", "exception.stacktrace"})


class Telemetry:
    """Tracing of one process: on with an exporter, off (and free) without.

    Args:
        service: name of the service in its spans.
        exporter: where spans go; default: OTLP over gRPC when the environment names an endpoint.

    The tracer provider is the process's global one, because the SDK's replay-safe tracing looks
    for it there. It can be set once a process.
    """

    def __init__(self, service: str, exporter: SpanExporter | None = None) -> None:
        self._provider: ReplaySafeTracerProvider | None = None
        if exporter is None and any(os.environ.get(e) for e in _ENDPOINTS):
            exporter = OTLPSpanExporter()
        if exporter is not None:
            self._provider = create_tracer_provider(
                resource=Resource.create({SERVICE_NAME: service}), shutdown_on_exit=False
            )
            self._provider.add_span_processor(InheritedIds())
            # Bounded: 2,048 spans wait at most, later ones are dropped, and no call waits for it.
            self._provider.add_span_processor(BatchSpanProcessor(_WithoutContent(exporter)))
            trace.set_tracer_provider(self._provider)
            warn_of_ignored_formats()

    @property
    def enabled(self) -> bool:
        """True when spans are made."""
        return self._provider is not None

    def temporal_plugins(self) -> list[Plugin]:
        """Return the plugins of a client, whose workers trace too."""
        if not self.enabled:
            return []
        ids = SimplePlugin("stigma.span-ids", interceptors=[TemporalIds()])
        return [OpenTelemetryPlugin(add_temporal_spans=True), ids]

    def server_interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """Return the interceptors of a gRPC server; health checks make no spans."""
        if not self.enabled:
            return []
        interceptor = aio_server_interceptor(  # type: ignore[no-untyped-call]
            self._provider, filter_=negate(health_check())
        )
        return [interceptor, RpcIds()]

    def shutdown(self) -> None:
        """Export the spans still held, for 5 s at most. Blocks: call it in a thread."""
        if self._provider is not None:
            # The SDK's own bounds are looser: a collector that does not answer would hold up the
            # process's end for half a minute.
            sending = threading.Thread(target=self._provider.shutdown, daemon=True)
            sending.start()
            sending.join(_FLUSH_SECONDS)


class _WithoutContent(SpanExporter):
    """Exports no exception's text, which may quote a prompt or an answer, and masks the rest."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        redaction = logging.redaction()
        return self._exporter.export([_without_content(span, redaction) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = int(_FLUSH_SECONDS * 1000)) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _without_content(span: ReadableSpan, redaction: Redaction) -> ReadableSpan:
    events = [
        Event(
            redaction.text(event.name),
            _masked(event.attributes, redaction, _EXCEPTION),
            event.timestamp,
        )
        for event in span.events
    ]
    links = [Link(link.context, _masked(link.attributes, redaction)) for link in span.links]
    return ReadableSpan(
        name=redaction.text(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_masked(span.attributes, redaction),
        events=events,
        links=links,
        kind=span.kind,
        # Its description is an exception's text.
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _masked(
    attributes: Attributes, redaction: Redaction, without: frozenset[str] = frozenset()
) -> dict[str, Any]:
    kept = {redaction.text(k): v for k, v in (attributes or {}).items() if k not in without}
    return redaction.fields(kept)
