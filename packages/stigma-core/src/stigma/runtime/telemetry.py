"""Traces: one from the caller's workflow to the model call, over gRPC and Temporal.

Nothing of it is installed, and nothing is paid, unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set (or a
test gives an exporter). Then a W3C context travels in gRPC metadata and in Temporal's headers.
"""

import os
from collections.abc import Sequence
from typing import Any

import grpc.aio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.instrumentation.grpc.filters import health_check, negate
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status
from temporalio.contrib.opentelemetry import (
    OpenTelemetryPlugin,
    ReplaySafeTracerProvider,
    create_tracer_provider,
)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_MILLIS = 5_000
_EXCEPTION_CONTENT = frozenset({"exception.message", "exception.stacktrace"})


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
            self._provider.add_span_processor(BatchSpanProcessor(_WithoutContent(exporter)))
            trace.set_tracer_provider(self._provider)

    @property
    def enabled(self) -> bool:
        """Whether spans are made."""
        return self._provider is not None

    def temporal_plugins(self) -> list[OpenTelemetryPlugin]:
        """For `Client.connect`: its workers trace too."""
        return [OpenTelemetryPlugin(add_temporal_spans=True)] if self.enabled else []

    def server_interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """For a gRPC server; health checks make no spans."""
        if not self.enabled:
            return []
        interceptor = aio_server_interceptor(  # type: ignore[no-untyped-call]
            self._provider, filter_=negate(health_check())
        )
        return [interceptor]

    def client_interceptors(self) -> Sequence[Any]:
        """For a gRPC channel."""
        if not self.enabled:
            return []
        interceptors: Sequence[Any] = aio_client_interceptors(  # type: ignore[no-untyped-call]
            self._provider
        )
        return interceptors

    def shutdown(self) -> None:
        """Sends the spans still held, for 5 s at most. Blocks: call it in a thread."""
        if self._provider is not None:
            self._provider.force_flush(_FLUSH_MILLIS)
            self._provider.shutdown()


class _WithoutContent(SpanExporter):
    """An exception is traced by its type: its text may quote a prompt or an answer."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_without_content(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = _FLUSH_MILLIS) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _without_content(span: ReadableSpan) -> ReadableSpan:
    if not span.events and span.status.description is None:
        return span
    events = [
        Event(
            event.name,
            {k: v for k, v in (event.attributes or {}).items() if k not in _EXCEPTION_CONTENT},
            event.timestamp,
        )
        for event in span.events
    ]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
