"""The runtime of a service: settings, logging, telemetry, Temporal, gRPC, health, lifecycle."""

from __future__ import annotations

from stigma.runtime import propagation as _propagation  # noqa: F401  # isort: skip

from stigma.runtime.errors import ConfigurationError, ServiceError
from stigma.runtime.grpc_server import GrpcServerComponent
from stigma.runtime.health import Readiness
from stigma.runtime.lifecycle import Component, ServiceRuntime, serve
from stigma.runtime.metrics import RpcMetrics
from stigma.runtime.settings import Port, Seconds, ServiceSettings, Texts, load_settings
from stigma.runtime.telemetry import Telemetry
from stigma.runtime.tls import ServerTls
from stigma.runtime.workers import WorkerComponent, worker_options

__all__ = [
    "Component",
    "ConfigurationError",
    "GrpcServerComponent",
    "Port",
    "Readiness",
    "RpcMetrics",
    "Seconds",
    "ServerTls",
    "ServiceError",
    "ServiceRuntime",
    "ServiceSettings",
    "Telemetry",
    "Texts",
    "WorkerComponent",
    "load_settings",
    "serve",
    "worker_options",
]
