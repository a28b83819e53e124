"""Connections to services, at addresses that were checked, and calls on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio

from zigflow_worker.errors import COMMUNICATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.rpc.descriptors import Method
from zigflow_worker.rpc.messages import decode
from zigflow_worker.rpc.statuses import error_of, unavailable
from zigflow_worker.rpc.targets import Target

Metadata = Sequence[tuple[str, str]]

_MESSAGE_BYTES = 16
"""Bytes that each message counts for, besides its own."""


class Addresses(Protocol):
    """The outgoing policy."""

    async def addresses(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """Return addresses and ports to connect to (raises WorkflowError)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcClient:
    """Connects to services.

    Args:
        policy: resolves hosts, and refuses addresses.
        roots: PEM of the authorities trusted; None: those that gRPC has.
        response_limit: bytes that all responses of a call may have.
        connect_seconds: for a connection.
    """

    policy: Addresses
    roots: bytes | None = None
    response_limit: int = 2 * 1024 * 1024
    connect_seconds: float = 10.0

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Connection]:
        """Connect to the first address that answers, and close the connection at the end.

        Raises:
            WorkflowError: of type `authorization` where policy forbids it, `communication` where
                no address answers in time.
        """
        addresses = await self.policy.addresses(target.host, target.port)
        channel = await self._open(target, addresses)
        try:
            yield Connection(channel, self.response_limit)
        finally:
            await channel.close()

    async def _open(self, target: Target, addresses: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
        channel: grpc.aio.Channel | None = None
        try:
            async with asyncio.timeout(self.connect_seconds):
                for address in addresses:
                    if channel is not None:
                        await channel.close()
                    channel = self._channel(target, *address)
                    if await _is_ready(channel):
                        break
        except BaseException as error:
            if channel is not None:
                await channel.close()
            if isinstance(error, TimeoutError):
                seconds = f"{self.connect_seconds:g} s"
                raise unavailable(f"{target.authority} did not answer within {seconds}") from None
            raise
        if channel is None:
            raise unavailable(f"{target.authority} has no address")
        return channel  # where none is ready, its call says why

    def _channel(self, target: Target, ip: str, port: int) -> grpc.aio.Channel:
        options = [
            ("grpc.default_authority", target.authority),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", self.response_limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.absolute_max_metadata_size", 64 * 1024),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        address = f"ipv6:[{ip}]:{port}" if ":" in ip else f"ipv4:{ip}:{port}"
        if not target.secure:
            return grpc.aio.insecure_channel(address, options=options)
        options.append(("grpc.ssl_target_name_override", target.host))
        credentials = grpc.ssl_channel_credentials(self.roots)
        return grpc.aio.secure_channel(address, credentials, options=options)


async def _is_ready(channel: grpc.aio.Channel) -> bool:
    while True:
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return True
        if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
            return False
        await channel.wait_for_state_change(state)


class Connection:
    """A connection to a service."""

    def __init__(self, channel: grpc.aio.Channel, response_limit: int) -> None:
        self.channel = channel
        self._limit = response_limit

    async def call(self, method: Method, messages: Sequence[bytes], metadata: Metadata) -> JSON:
        """Call a method and return its response, a list of them for a server's stream.

        Raises:
            WorkflowError: of type `communication`, with the status of google.rpc's table; 500 for
                responses beyond the limit.
        """
        try:
            responses = [each async for each in self._responses(method, messages, metadata)]
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None
        if method.server_streaming:
            return [decode(method, each) for each in responses]
        return decode(method, responses[0])

    async def _responses(
        self, method: Method, messages: Sequence[bytes], metadata: Metadata
    ) -> AsyncIterator[bytes]:
        call = self._begin(method, messages, metadata)
        received = 0
        try:
            async for response in _each(call, method):
                received += len(response) + _MESSAGE_BYTES
                if received > self._limit:
                    detail = f"the responses are larger than {self._limit} bytes"
                    raise WorkflowError.of(COMMUNICATION, detail)
                yield response
        finally:
            call.cancel()

    def _begin(self, method: Method, messages: Sequence[bytes], metadata: Metadata) -> Any:
        channel: Any = self.channel  # its stubs know no calls of bytes
        sent = tuple(metadata)
        match method.client_streaming, method.server_streaming:
            case False, False:
                return channel.unary_unary(method.path)(messages[0], metadata=sent)
            case False, True:
                return channel.unary_stream(method.path)(messages[0], metadata=sent)
            case True, False:
                return channel.stream_unary(method.path)(iter(messages), metadata=sent)
        return channel.stream_stream(method.path)(iter(messages), metadata=sent)


async def _each(call: Any, method: Method) -> AsyncIterator[bytes]:
    if not method.server_streaming:
        yield await call
        return
    async for response in call:
        yield response
