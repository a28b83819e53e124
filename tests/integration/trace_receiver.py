"""Receives traces over OTLP and keeps every byte.

It answers in a thread of its own: an exporter gives a batch up after 10 s, and the tests' loop
stands still while a test that is not async runs, or a build.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


class TraceReceiver(TraceServiceServicer):
    """An OTLP endpoint on a free port of this machine."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self._server = grpc.server(ThreadPoolExecutor(max_workers=1))
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        add_TraceServiceServicer_to_server(self, self._server)

    @property
    def endpoint(self) -> str:
        """The value of OTEL_EXPORTER_OTLP_ENDPOINT for it."""
        return f"http://127.0.0.1:{self._port}"

    def services(self) -> set[str]:
        """The services that sent spans."""
        return {
            attribute.value.string_value
            for request in self.requests
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }

    def raw(self) -> bytes:
        """Everything received, as bytes and as text."""
        return b"\n".join(
            request.SerializeToString() + str(request).encode() for request in self.requests
        )

    def Export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        self.requests.append(request)
        return ExportTraceServiceResponse()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(None).wait()
