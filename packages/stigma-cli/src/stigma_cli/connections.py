"""Connections to Stigma's API, configured by the environment."""

from __future__ import annotations

import asyncio
import os
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc

from stigma.agent.v1.agent_execution_service_pb2 import (
    SendAgentMessageRequest,
    StartAgentRequest,
    SubmitAgentInputRequest,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma.agent.v1.agent_session_service_pb2_grpc import AgentSessionServiceStub
from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import DiagnosisServiceStub
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import print_note
from stigma_cli.server_errors import from_grpc, no_answer
from stigma_cli.slow_answers import noted_if_slow
from stigma_client.connection import DEFAULT_ADDRESS, ApiConnection

CALL_TIMEOUT_SECONDS = 10.0
"""Timeout of a call that only reads, and of the connection for every other one."""
LONG_CALL_TIMEOUT_SECONDS = 15.0
"""Timeout of a call that takes the API some time, for instance for checks by other services: as
long as the API's own timeout, after which it says what did not answer."""

# A start of the API takes less.
_RETRY_WITHIN_SECONDS = 7.0
_RETRY_SECONDS = 1.0
_CONNECTING = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)

M = TypeVar("M")
R = TypeVar(
    "R",
    SendAgentMessageRequest,
    StartAgentRequest,
    StartWorkflowRequest,
    SubmitAgentInputRequest,
)
T = TypeVar("T")


class Api:
    """Stigma's API, as a person's command talks to it."""

    def __init__(self, connection: ApiConnection, address: str) -> None:
        self.address = address
        self._channel = connection.channel
        self.metadata = connection.metadata()
        self.agents = AgentServiceStub(connection.channel)
        self.executions = AgentExecutionServiceStub(connection.channel)
        self.sessions = AgentSessionServiceStub(connection.channel)
        self.workflows = WorkflowServiceStub(connection.channel)
        self.workflow_executions = WorkflowExecutionServiceStub(connection.channel)
        self.diagnosis = DiagnosisServiceStub(connection.channel)

    @property
    def server(self) -> str:
        """The API in messages."""
        return f"Stigma's API at {self.address}"

    @property
    def is_connected(self) -> bool:
        """True where a connection to the API is there."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    def _slow_server(self, behind: str) -> str:
        """Return what a call waits for, as far as that is known."""
        return f"{self.server}, or {behind} behind it" if self.is_connected else self.server

    async def call(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[M, T],
        request: M,
        timeout: float | None = None,
        *,
        behind: str = "Temporal",
    ) -> T:
        """Make one call; the connection never takes longer than CALL_TIMEOUT_SECONDS.

        Args:
            rpc: to be called.
            request: of the call.
            timeout: seconds that the call may take; None: CALL_TIMEOUT_SECONDS.
            behind: what the API may wait for.

        Raises:
            CliError: it failed.
        """
        seconds = timeout or CALL_TIMEOUT_SECONDS
        try:
            with noted_if_slow(lambda: self._slow_server(behind)):
                if seconds > CALL_TIMEOUT_SECONDS:
                    await self._connect()
                return await rpc(request, metadata=self.metadata, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise from_grpc(error, self.address) from None
        except grpc.aio.BaseError:
            # gRPC's own check of what is sent, for instance of the key, which its text may hold.
            raise CliError("the call cannot be sent: see STIGMA_API_KEY", code=Exit.USAGE) from None

    async def call_long(self, rpc: grpc.aio.UnaryUnaryMultiCallable[M, T], request: M) -> T:
        """Make one call that takes the API some time, of LONG_CALL_TIMEOUT_SECONDS.

        Raises:
            CliError: it failed.
        """
        return await self.call(rpc, request, LONG_CALL_TIMEOUT_SECONDS)

    async def call_checked(self, rpc: grpc.aio.UnaryUnaryMultiCallable[M, T], request: M) -> T:
        """Make one call like `call_long`, whose request the API has workers check.

        Raises:
            CliError: it failed.
        """
        behind = "Temporal or a worker"
        return await self.call(rpc, request, LONG_CALL_TIMEOUT_SECONDS, behind=behind)

    async def _connect(self) -> None:
        """Wait for a connection, or for its refusal, which the call that follows tells.

        Raises:
            CliError: there is neither within CALL_TIMEOUT_SECONDS.
        """
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                while (state := self._channel.get_state(try_to_connect=True)) in _CONNECTING:
                    await self._channel.wait_for_state_change(state)
        except TimeoutError:
            raise no_answer(self.address) from None

    async def call_once(self, rpc: grpc.aio.UnaryUnaryMultiCallable[R, T], request: R) -> T:
        """Make a call that counts once by its request id, again while the API restarts.

        Raises:
            CliError: it failed, or the API cannot be reached for some seconds.
        """
        request.request_id = request.request_id or uuid.uuid4().hex
        clock = asyncio.get_running_loop().time
        last = clock() + _RETRY_WITHIN_SECONDS
        told = False
        while True:
            try:
                return await self.call_long(rpc, request)
            except CliError as error:
                if error.code is not Exit.UNREACHABLE or clock() >= last:
                    raise
                if not told:
                    print_note(f"{error.message}: trying again for some seconds")
                told = True
            await asyncio.sleep(_RETRY_SECONDS)


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
            check_no_url("STIGMA_API_ADDRESS", address)
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


def check_no_url(variable: str, address: str) -> None:
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


def task_queues() -> TaskQueues:
    """Return this installation's task queues."""
    return TaskQueues(os.environ.get("STIGMA_TASK_QUEUE_PREFIX", ""))
