"""Prometheus metrics: a registry for each service, and the metrics of its gRPC calls.

A service makes its own metrics the same way: in the constructor of what measures, with
`registry=runtime.metrics`. There are no metrics at module level, so nothing is shared by accident.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from typing_extensions import override

from stigma.runtime.health import Readiness

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds: fine enough around the 500 ms of the delivery alert, wide enough for a model call."""

_Handler = Any  # grpc.RpcMethodHandler: its stubs do not know of asyncio behaviours


def new_registry(service: str) -> CollectorRegistry:
    """Return a registry with the process's own metrics (memory, CPU, files, garbage collection)."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("stigma_service", "The service of this process.", registry=registry).info(
        {"service": service}
    )
    return registry


def export_task_count(registry: CollectorRegistry, loop: asyncio.AbstractEventLoop) -> None:
    """Export the number of asyncio tasks of a loop: one that grows with the load is a leak."""
    tasks = Gauge("stigma_asyncio_tasks", "Unfinished asyncio tasks.", registry=registry)
    tasks.set_function(lambda: len(asyncio.all_tasks(loop)))


def export_readiness(registry: CollectorRegistry, readiness: Readiness) -> None:
    """Export what `/readyz` answers, for alerts."""
    ready = Gauge("stigma_ready", "Whether the service is ready: 1 or 0.", registry=registry)
    ready.set_function(lambda: readiness.ready)


class RpcMetrics(grpc.aio.ServerInterceptor):
    """Counts and times every RPC, and keeps a bug's text from the client.

    An exception a servicer did not mean (anything but an abort) is logged with its traceback;
    the client gets INTERNAL without its text, which could hold a token or a prompt.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "stigma_rpc_requests_total", "RPCs answered.", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "stigma_rpc_duration_seconds",
            "How long RPCs took, streams until their end.",
            ["method"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._running = Gauge(
            "stigma_rpc_in_flight", "RPCs being answered.", ["method"], registry=registry
        )
        self._log = structlog.get_logger()

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        handler = await continuation(handler_call_details)
        if handler is None:  # an unknown method: never a label, its name is the client's choice
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            kind = "stream_stream" if handler.request_streaming else "unary_stream"
            wrapped = self._streaming(method, getattr(handler, kind))
        else:
            kind = "stream_unary" if handler.request_streaming else "unary_unary"
            wrapped = self._unary(method, getattr(handler, kind))
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _unary(self, method: str, behavior: Any) -> Any:
        async def call(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> object:
            async with _MeasuredCall(self, method, context):
                return await behavior(request, context)

        return call

    def _streaming(self, method: str, behavior: Any) -> Any:
        async def call(
            request: object, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[object]:
            async with _MeasuredCall(self, method, context):
                answers = behavior(request, context)
                if hasattr(answers, "__aiter__"):
                    async for answer in answers:
                        yield answer
                else:  # a servicer that writes to the context itself
                    await answers

        return call

    def begin(self, method: str) -> float:
        """Count the start of an RPC; returns its time."""
        self._running.labels(method).inc()
        return time.perf_counter()

    def end(self, method: str, began: float, code: grpc.StatusCode) -> None:
        """Count the end of an RPC."""
        self._running.labels(method).dec()
        self._seconds.labels(method).observe(time.perf_counter() - began)
        self._calls.labels(method, code.name).inc()

    def report(self, method: str, error: BaseException) -> None:
        """Log the error that the client does not see."""
        self._log.error("rpc_failed", method=method, exc_info=error)


class _MeasuredCall:
    """One RPC, from its first line to its status."""

    def __init__(
        self, metrics: RpcMetrics, method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        self._metrics, self._method, self._context = metrics, method, context
        self._began = 0.0

    async def __aenter__(self) -> None:
        self._began = self._metrics.begin(self._method)

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        code = status_code(self._context, error)
        self._metrics.end(self._method, self._began, code)
        if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            self._metrics.report(self._method, error)
            await self._context.abort(grpc.StatusCode.INTERNAL, "internal error")


def status_code(
    context: grpc.aio.ServicerContext[Any, Any], error: BaseException | None
) -> grpc.StatusCode:
    """Return the code that an RPC is answered with, given what its handler raised, if anything."""
    if error is not None and not isinstance(error, Exception):
        return grpc.StatusCode.CANCELLED
    if error is not None and not isinstance(error, grpc.aio.AbortError):
        return grpc.StatusCode.INTERNAL
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    by_number = {c.value[0]: c for c in grpc.StatusCode}
    return by_number.get(code or 0, grpc.StatusCode.UNKNOWN)
