"""The gRPC channel to the API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.contracts.channels import channel_options, is_loopback, target_of
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub

if TYPE_CHECKING:
    from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceAsyncStub
    from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
        WorkflowExecutionServiceAsyncStub,
    )

DEFAULT_ADDRESS = "localhost:7300"

# Not the global one: importing that reads OTEL_PROPAGATORS, and fails for a format not installed.
_TRACE_CONTEXT = TraceContextTextMapPropagator()


class ConnectionSettingError(ValueError):
    """A connection cannot be made as it is configured.

    Args:
        message: names the parameters of ApiConnection and TlsFiles.
        by_variables: the same, with the variables that `ApiConnection.from_environment` reads.
    """

    def __init__(self, message: str, by_variables: str) -> None:
        super().__init__(message)
        self.by_variables = by_variables


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a TLS connection.

    Args:
        ca: authorities trusted; None: the system's.
        certificate: the client's own, for mTLS, with its `key`.
        key: its private key.
        server_name: name expected in the server's certificate, where it is not its address's.

    Raises:
        ConnectionSettingError: a certificate without its key, or a key without its certificate.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConnectionSettingError(
                "a client certificate and its key go together",
                "STIGMA_API_TLS_CLIENT_CERT and STIGMA_API_TLS_CLIENT_KEY go together",
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            OSError: a file cannot be read.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca.read_bytes() if self.ca else None,
            private_key=self.key.read_bytes() if self.key else None,
            certificate_chain=self.certificate.read_bytes() if self.certificate else None,
        )


class ApiConnection:
    """A lazily opened channel to the API, with the caller's credentials.

    Args:
        address: "host:port" of the API, or a gRPC target with its scheme.
        api_key: sent as a bearer token with every call; blanks around it are taken off.
        tls: files of a TLS connection; None for a connection in clear.
        allow_insecure: send the key in clear also to another machine.

    Raises:
        ConnectionSettingError: the key has blanks or letters that cannot be sent, or would be sent
            in clear over a network.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        api_key: str | None = None,
        tls: TlsFiles | None = None,
        allow_insecure: bool = False,
    ) -> None:
        api_key = _stripped_key(api_key)
        if api_key and tls is None and not allow_insecure and not is_loopback(address):
            in_clear = f"an API key for {address} would be sent in clear"
            raise ConnectionSettingError(
                f"{in_clear}: configure TLS, or allow_insecure",
                f"{in_clear}: set STIGMA_API_TLS=true, or STIGMA_API_TLS_CA to a file of its "
                "authorities; or STIGMA_API_ALLOW_INSECURE=true where nobody else can listen",
            )
        self._target = target_of(address)
        self._options = channel_options(address, server_name=tls.server_name if tls else "")
        self._authorization = f"Bearer {api_key}" if api_key else None
        self._tls = tls
        self._channel: grpc.aio.Channel | None = None
        self._stub: AgentExecutionServiceAsyncStub | None = None
        self._workflow_stub: WorkflowExecutionServiceAsyncStub | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ApiConnection:
        """Configure a connection from STIGMA_API_* variables (see this package's README).

        Raises:
            ValueError: a variable is malformed, or as the constructor.
        """
        env = os.environ if environment is None else environment
        try:
            return cls._from_variables(env)
        except ConnectionSettingError as error:
            raise ConnectionSettingError(error.by_variables, error.by_variables) from None

    @classmethod
    def _from_variables(cls, env: Mapping[str, str]) -> ApiConnection:
        files = TlsFiles(
            ca=_path(env, "STIGMA_API_TLS_CA"),
            certificate=_path(env, "STIGMA_API_TLS_CLIENT_CERT"),
            key=_path(env, "STIGMA_API_TLS_CLIENT_KEY"),
            server_name=env.get("STIGMA_API_TLS_SERVER_NAME", ""),
        )
        tls_wanted = _flag(env, "STIGMA_API_TLS") or files != TlsFiles()
        return cls(
            env.get("STIGMA_API_ADDRESS") or DEFAULT_ADDRESS,
            api_key=env.get("STIGMA_API_KEY"),
            tls=files if tls_wanted else None,
            allow_insecure=_flag(env, "STIGMA_API_ALLOW_INSECURE"),
        )

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel; opened on first use, in the running event loop."""
        if self._channel is None:
            self._channel = self._open()
        return self._channel

    @property
    def executions(self) -> AgentExecutionServiceAsyncStub:
        """The stub that starts and cancels executions of agents."""
        if self._stub is None:
            self._stub = AgentExecutionServiceStub(self.channel)
        return self._stub

    @property
    def workflow_executions(self) -> WorkflowExecutionServiceAsyncStub:
        """The stub that starts and cancels executions of workflows."""
        if self._workflow_stub is None:
            self._workflow_stub = WorkflowExecutionServiceStub(self.channel)
        return self._workflow_stub

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what accompanies a call: credentials and the current trace's W3C context."""
        carrier: dict[str, str] = {}
        _TRACE_CONTEXT.inject(carrier)
        if self._authorization:
            carrier["authorization"] = self._authorization
        return tuple(carrier.items())

    async def close(self) -> None:
        """Close the channel; the next use opens another."""
        channel, self._channel = self._channel, None
        self._stub = self._workflow_stub = None
        if channel is not None:
            await channel.close()

    def _open(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        return grpc.aio.secure_channel(self._target, self._tls.credentials(), options=self._options)


def _stripped_key(key: str | None) -> str | None:
    """Return a key as gRPC takes it: files and secrets often end it with a newline."""
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        has = "has blanks, control characters or letters beyond ASCII"
        raise ConnectionSettingError(f"the API key {has}", f"STIGMA_API_KEY {has}")
    return key or None


def _path(env: Mapping[str, str], name: str) -> Path | None:
    value = env.get(name)
    return Path(value) if value else None


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in {"", "0", "false", "no"}:
        return False
    if value in {"1", "true", "yes"}:
        return True
    raise ValueError(f"{name} is {value!r}: expected true or false")
