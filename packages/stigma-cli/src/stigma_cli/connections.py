"""Connections to Stigma's API and to Temporal, configured by the environment."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma.agent.v1.agent_session_service_pb2_grpc import AgentSessionServiceStub
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import DiagnosisServiceStub
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from stigma_cli.errors import CliError, Exit
from stigma_cli.server_errors import from_grpc, from_temporal
from stigma_client import ApiConnection
from stigma_client.connection import DEFAULT_ADDRESS

DEFAULT_TEMPORAL_ADDRESS = "localhost:7233"
CALL_TIMEOUT_SECONDS = 15.0

M = TypeVar("M")
T = TypeVar("T")


class Api:
    """Stigma's API, as a person's command talks to it."""

    def __init__(self, connection: ApiConnection, address: str) -> None:
        self.address = address
        self.metadata = connection.metadata()
        self.agents = AgentServiceStub(connection.channel)
        self.executions = AgentExecutionServiceStub(connection.channel)
        self.sessions = AgentSessionServiceStub(connection.channel)
        self.workflows = WorkflowServiceStub(connection.channel)
        self.workflow_executions = WorkflowExecutionServiceStub(connection.channel)
        self.diagnosis = DiagnosisServiceStub(connection.channel)

    async def call(self, rpc: grpc.aio.UnaryUnaryMultiCallable[M, T], request: M) -> T:
        """Make one call.

        Raises:
            CliError: it failed.
        """
        try:
            return await rpc(request, metadata=self.metadata, timeout=CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_grpc(error, self.address) from None
        except grpc.aio.BaseError:
            # gRPC's own check of what is sent, for instance of the key, which its text may hold.
            raise CliError("the call cannot be sent: see STIGMA_API_KEY", code=Exit.USAGE) from None


@asynccontextmanager
async def open_api(address: str | None = None) -> AsyncIterator[Api]:
    """Connect to the API at an address on this machine, else to the one of the environment.

    The environment is STIGMA_API_ADDRESS, STIGMA_API_KEY and STIGMA_API_TLS_*.
    """
    try:
        if address is not None:
            connection = ApiConnection(address)
        else:
            address = os.environ.get("STIGMA_API_ADDRESS") or DEFAULT_ADDRESS
            _check_no_url("STIGMA_API_ADDRESS", address)
            _check_key(os.environ.get("STIGMA_API_KEY", ""))
            _check_authorities(os.environ.get("STIGMA_API_TLS_CA"))
            connection = ApiConnection.from_environment()
        api = Api(connection, address)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise CliError(message, "see STIGMA_API_TLS_*", code=Exit.USAGE) from None
    except ValueError as error:
        raise CliError(str(error), code=Exit.USAGE) from None
    try:
        yield api
    finally:
        await connection.close()


def _check_no_url(variable: str, address: str) -> None:
    """Refuse a URL, which is reported as an address that cannot be reached.

    Raises:
        CliError: it is one.
    """
    if address.startswith(("http://", "https://")):
        raise CliError(
            f"{variable} is a URL: {address}", "set it to host:port, without http", code=Exit.USAGE
        )


def _check_key(key: str) -> None:
    """Refuse a key that no HTTP header can carry; a line end after it is left to the client.

    Raises:
        CliError: it has such characters.
    """
    sent = key.strip()
    if not (sent.isascii() and sent.isprintable()):
        raise CliError("STIGMA_API_KEY has characters that cannot be sent", code=Exit.USAGE)


def _check_authorities(file: str | None) -> None:
    """Refuse a file of authorities that has none, about which gRPC says nothing.

    Raises:
        CliError: it is no PEM file of certificates.
        OSError: it cannot be read.
    """
    if not file:
        return
    try:
        # Read here: the error of `cafile` does not name the file.
        text = Path(file).read_text("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, UnicodeDecodeError):
        raise CliError(
            f"STIGMA_API_TLS_CA: {file} is no PEM file of certificates", code=Exit.USAGE
        ) from None


def temporal_address() -> str:
    """Return Temporal's address from Temporal's own settings."""
    return str(_temporal_options()["target_host"])


async def connect_temporal() -> Client:
    """Connect to Temporal by Temporal's own settings.

    Raises:
        CliError: its address is malformed, or it cannot be reached.
    """
    options = _temporal_options()
    address = str(options["target_host"])
    try:
        return await temporal_call(
            Client.connect(**options, data_converter=DATA_CONVERTER), address
        )
    except ValueError as error:
        raise CliError(
            f"{address} is not an address of Temporal: {error}",
            "set TEMPORAL_ADDRESS to host:port",
            code=Exit.USAGE,
        ) from None


async def temporal_call(call: Awaitable[T], address: str) -> T:
    """Await a call to Temporal.

    Raises:
        CliError: it failed.
    """
    try:
        return await call
    except (RPCError, RuntimeError) as error:
        raise from_temporal(error, address) from None


def task_queues() -> TaskQueues:
    """Return this installation's task queues."""
    return TaskQueues(os.environ.get("STIGMA_TASK_QUEUE_PREFIX", ""))


def _temporal_options() -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    except (RuntimeError, ValueError, OSError) as error:
        raise CliError(
            f"Temporal's configuration cannot be read: {error}", code=Exit.USAGE
        ) from None
    options = {"target_host": DEFAULT_TEMPORAL_ADDRESS, "namespace": "default"} | options
    _check_no_url("TEMPORAL_ADDRESS", str(options["target_host"]))
    return options
