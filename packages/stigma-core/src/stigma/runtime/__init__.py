"""What turns code into a service: settings, logging, telemetry, Temporal, gRPC, health, life."""

from stigma.runtime.errors import ConfigurationError, ServiceError
from stigma.runtime.grpc_channel import ClientTls, open_channel
from stigma.runtime.grpc_server import GrpcServerComponent, ServerTls
from stigma.runtime.health import Readiness
from stigma.runtime.lifecycle import Component, ServiceRuntime, serve
from stigma.runtime.metrics import RpcMetrics
from stigma.runtime.settings import Port, Seconds, ServiceSettings, load_settings
from stigma.runtime.telemetry import Telemetry
from stigma.runtime.workers import WorkerComponent, worker_options

__all__ = [
    "ClientTls",
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
    "WorkerComponent",
    "load_settings",
    "open_channel",
    "serve",
    "worker_options",
]
