"""The gRPC server of a service: TLS, limits, health, reflection, and a drain at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health_aio

from stigma.contracts.channels import MAX_MESSAGE_BYTES
from stigma.runtime.errors import ConfigurationError, ServiceError
from stigma.runtime.health import Readiness
from stigma.runtime.reflection import add_reflection
from stigma.runtime.tls import ServerTls, server_credentials

MAX_CONCURRENT_STREAMS = 1_000


class GrpcServerComponent:
    """A gRPC server as a part of a service.

    Args:
        readiness: what its health service answers (`SERVING` while the service is ready).
        host: address to listen on.
        port: port to listen on; 0 takes a free one, see `port`.
        services: full names of the proto services registered, for health and reflection.
        register: adds the servicers to the server.
        tls: encrypt; None: in clear.
        interceptors: outermost first.
        reflection: tell clients without stubs what the server has.
        on_stop: ends streams that clients resume elsewhere, once new calls are refused.
        name: for logs and readiness.
    """

    def __init__(
        self,
        readiness: Readiness,
        *,
        host: str,
        port: int,
        services: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        tls: ServerTls | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        reflection: bool = True,
        on_stop: Callable[[], None] | None = None,
        name: str = "grpc",
    ) -> None:
        self.name = name
        self.port = port
        self._readiness = readiness
        self._host = host
        self._tls = tls
        self._services = tuple(services)
        self._server = grpc.aio.server(
            interceptors=list(interceptors),
            options=_OPTIONS,
            compression=grpc.Compression.NoCompression,
        )
        register(self._server)
        self._on_stop = on_stop
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflection:
            add_reflection(self._server, (*self._services, HEALTH))
        self._ended: asyncio.Task[bool] | None = None
        self._health_tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Open the port and serve.

        Raises:
            ConfigurationError: the port is taken, or a TLS file cannot be read.
        """
        address = (
            f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"
        )
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, server_credentials(self._tls))
        except RuntimeError as error:
            raise ConfigurationError(f"cannot listen on {address}: {error}") from error
        await self._server.start()
        # Kept as a task, and shielded: cancelling this wait would cancel the server's own stop.
        self._ended = asyncio.create_task(self._server.wait_for_termination())
        self._readiness.on_change(self._publish_health)
        self._readiness.set(self.name, True)
        self._log.info(
            "grpc_listening",
            host=self._host,
            port=self.port,
            tls=self._tls is not None,
            services=list(self._services),
        )

    async def stop(self, grace: timedelta) -> None:
        """Refuse new calls, and let running ones end within `grace`."""
        self._readiness.set(self.name, False, "stopping")
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace.total_seconds()))
        await asyncio.sleep(0)  # it has begun: no stream that ends now is opened here again
        if self._on_stop is not None:
            self._on_stop()
        await stopping
        if self._ended is not None:
            await self._ended

    async def wait_failed(self) -> None:
        """Raise ServiceError when the server ends by itself; wait for ever otherwise."""
        if self._ended is not None:
            await asyncio.shield(self._ended)
        raise ServiceError("the gRPC server ended by itself")

    def _publish_health(self, ready: bool) -> None:
        kind = health_pb2.HealthCheckResponse
        status = kind.SERVING if ready else kind.NOT_SERVING
        task = asyncio.get_running_loop().create_task(self._set_health(status))
        self._health_tasks.add(task)
        task.add_done_callback(self._health_tasks.discard)

    async def _set_health(self, status: Any) -> None:
        for service in ("", *self._services):
            await self._health.set(service, status)


_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
    ("grpc.max_metadata_size", 16 * 1024),
    # Two servers on one port would share its calls by chance: a wrong set-up, better refused.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients ping every 20 s (contracts.channels): allow it, but no flood.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients resolve the name again when a connection ends, and so find new replicas: one that is
    # added to a busy API has its share of the load after this time. Running calls are not cut.
    ("grpc.max_connection_age_ms", 60_000),
)
