"""The connection to Temporal: configured as Temporal's own tools are, patient, and checked."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from temporalio.activity import info as activity_info
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client, Interceptor, Plugin
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
)
from temporalio.worker import Interceptor as WorkerInterceptor
from typing_extensions import override

from stigma.runtime import logging
from stigma.runtime.errors import ConfigurationError
from stigma.runtime.late_attempts import LateAttempts
from stigma.runtime.named_files import check_trusted_authorities

_FIRST_WAIT = timedelta(milliseconds=250)
_LONGEST_WAIT = timedelta(seconds=5)
_RPC_TIMEOUT = timedelta(seconds=3)
_DEFAULT_ADDRESS = "localhost:7233"
_PORT_ATTEMPTS = 5
# Text of Temporal's SDK.
_NO_AUTHORITIES = "NativeCertsNotFound"
# First release that reports target versions; older ones pin a run and never report another.
_VERSIONING_SINCE = (1, 32)


class TemporalConnector:
    """Connects one service; all its clients share one SDK runtime and its metrics exporter."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self.metrics_address: str | None = None
        self._log = structlog.get_logger()

    async def connect(
        self,
        *,
        data_converter: DataConverter,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Interceptor] = (),
        namespace: str | None = None,
    ) -> Client:
        """Return a client that has reached its namespace; waits for it as long as that takes.

        Waiting is logged once, again whenever its reason changes, and its end once. Attempts are
        250 ms apart at first and 5 s at most.

        Args:
            data_converter: how this client writes and reads payloads.
            plugins: passed on to its workers too.
            interceptors: likewise.
            namespace: instead of the configured one.

        Raises:
            ConfigurationError: the configuration cannot be read, or names no authorities that TLS
                could trust, whatever the server's state.
        """
        options = _connect_options(namespace)
        address, name = options["target_host"], options["namespace"]
        log = self._log.bind(address=address, namespace=name)
        runtime = self._sdk_runtime()
        wait, logged = _FIRST_WAIT, ""
        while True:
            reason = ""
            try:
                client = await Client.connect(
                    **options,
                    data_converter=data_converter,
                    plugins=list(plugins),
                    interceptors=[ActivityContext(), LateAttempts(), *interceptors],
                    runtime=runtime,
                )
                await describe_namespace(client)
            except (RuntimeError, RPCError) as error:
                _check_authorities(error)
                reason = _waiting_reason(error)
            else:
                log.info("temporal_connected")
                return client
            if reason != logged:
                log.warning("temporal_waiting", reason=reason)
                logged = reason
            # Jitter, so that the services of a cluster do not return in step.
            await asyncio.sleep(wait.total_seconds() * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(wait * 2, _LONGEST_WAIT)

    def _sdk_runtime(self) -> Runtime:
        if self._runtime is None:
            self._runtime, self.metrics_address = _new_runtime()
        return self._runtime


class ActivityContext(Interceptor, WorkerInterceptor):
    """Gives every log event of an activity the ids of its workflow and attempt."""

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ActivityInbound(next)


class _ActivityInbound(ActivityInboundInterceptor):
    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity_info()
        with structlog.contextvars.bound_contextvars(
            activity_type=info.activity_type,
            activity_id=info.activity_id,
            workflow_id=info.workflow_id,
            run_id=info.workflow_run_id,
            attempt=info.attempt,
        ):
            return await super().execute_activity(input)


async def check_server(client: Client) -> None:
    """Make one cheap call, not retried.

    Raises:
        RPCError: the server did not answer within 3 s, or refused.
    """
    await client.workflow_service.get_system_info(
        GetSystemInfoRequest(), retry=False, timeout=_RPC_TIMEOUT
    )


async def check_worker_versioning(client: Client) -> None:
    """Check that the server reports other versions to the runs of a versioned worker.

    Raises:
        ConfigurationError: the server is too old.
        RPCError: it did not answer within the SDK's retries, or refused.
    """
    info = await client.workflow_service.get_system_info(
        GetSystemInfoRequest(), retry=True, timeout=_RPC_TIMEOUT
    )
    if supports_version_updates(info.server_version):
        return
    since = ".".join(map(str, _VERSIONING_SINCE))
    raise ConfigurationError(
        f"worker versioning needs Temporal {since} or newer, this one is {info.server_version}:"
        " unset TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID, or upgrade Temporal"
    )


def supports_version_updates(server_version: str) -> bool:
    """Return whether such a server reports target versions; one that hides its own may."""
    version = re.match(r"v?(\d+)\.(\d+)", server_version)
    return version is None or tuple(map(int, version.groups())) >= _VERSIONING_SINCE


async def describe_namespace(client: Client) -> None:
    """Make the call that a worker makes before it polls: the namespace exists and is permitted."""
    await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), retry=False, timeout=_RPC_TIMEOUT
    )


def _connect_options(namespace: str | None) -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(f"the Temporal configuration cannot be read: {error}") from error
    options.setdefault("target_host", _DEFAULT_ADDRESS)
    options.setdefault("namespace", "default")
    if namespace is not None:
        options["namespace"] = namespace
    return options


def _check_authorities(error: RuntimeError | RPCError) -> None:
    """Raise ConfigurationError for an error that says that TLS trusts no authorities at all."""
    if _NO_AUTHORITIES not in str(error):
        return
    check_trusted_authorities()
    raise ConfigurationError(
        "TLS of Temporal trusts no authorities: this system has none; set SSL_CERT_FILE, or "
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH"
    )


def _waiting_reason(error: RuntimeError | RPCError) -> str:
    if isinstance(error, RPCError):
        if error.status is RPCStatusCode.NOT_FOUND:
            return "the namespace does not exist"
        return f"{error.status.name}: {error.message}"
    return str(error)


def _new_runtime() -> tuple[Runtime, str]:
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        address = f"127.0.0.1:{_free_port()}"
        metrics = PrometheusConfig(
            bind_address=address,
            counters_total_suffix=True,
            unit_suffix=True,
            durations_as_seconds=True,
        )
        telemetry = TelemetryConfig(logging=logging.core_logging(), metrics=metrics)
        try:
            return Runtime(telemetry=telemetry), address
        except ValueError:  # another process took the port in between
            if attempt == _PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
