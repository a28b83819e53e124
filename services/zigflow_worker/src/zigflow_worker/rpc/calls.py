"""Connections to services, at addresses that were checked, and calls on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import grpc
import grpc.aio

from zigflow_worker.errors import COMMUNICATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.outgoing.memory import CallMemory
from zigflow_worker.rpc.descriptors import Method
from zigflow_worker.rpc.messages import decode_all
from zigflow_worker.rpc.statuses import error_of, unavailable
from zigflow_worker.rpc.targets import Target
from zigflow_worker.rpc.weights import MAX_CHARACTERS, HeavyError
from zigflow_worker.threads import run_in_thread

Metadata = Sequence[tuple[str, str]]

_MESSAGE_BYTES = 16
"""Bytes that each message counts for, besides its own."""
_USUAL_CHARACTERS, _USUAL_GROWTH = 4 * 1024, 8
"""Characters of most messages' JSON: so many, and so many for each byte."""
_METADATA_BYTES = 64 * 1024
_STREAMS = 200


class Addresses(Protocol):
    """The outgoing policy."""

    async def addresses(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """Return addresses and ports to connect to (raises WorkflowError)."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way in which channels to a service are made."""

    target: Target
    roots: bytes | None
    response_limit: int

    def channel(self, address: tuple[str, int]) -> grpc.aio.Channel:
        """Return a channel to one address, of the service by its name."""
        place, options = _place(address), self._options()
        if not self.target.secure:
            return grpc.aio.insecure_channel(place, options=options)
        return grpc.aio.secure_channel(place, self._credentials(), options=options)

    def blocking_channel(self, address: tuple[str, int]) -> grpc.Channel:
        """Return such a channel whose calls block."""
        place, options = _place(address), self._options()
        if not self.target.secure:
            return grpc.insecure_channel(place, options=options)
        return grpc.secure_channel(place, self._credentials(), options=options)

    def _credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.roots)

    def _options(self) -> list[tuple[str, Any]]:
        options: list[tuple[str, Any]] = [
            ("grpc.default_authority", self.target.authority),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", self.response_limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.target.secure:
            options.append(("grpc.ssl_target_name_override", self.target.host))
        return options


def _place(address: tuple[str, int]) -> str:
    ip, port = address
    return f"ipv6:[{ip}]:{port}" if ":" in ip else f"ipv4:{ip}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcClient:
    """Connects to services.

    Args:
        policy: resolves hosts, and refuses addresses.
        roots: PEM of the authorities trusted; None: those that gRPC has.
        response_limit: bytes that all responses of a call may have.
        connect_seconds: for a connection.
        streams: calls that send several messages, at a time: each keeps a thread for as long as
            its server takes, so there have to be as many as there may be calls.
    """

    policy: Addresses
    roots: bytes | None = None
    response_limit: int = 2 * 1024 * 1024
    connect_seconds: float = 10.0
    streams: int = _STREAMS
    threads: Executor = field(init=False)

    def __post_init__(self) -> None:
        threads = ThreadPoolExecutor(self.streams, thread_name_prefix="grpc-streams")
        object.__setattr__(self, "threads", threads)

    def close(self) -> None:
        """End the threads of calls; those under way keep theirs until they end."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Connection]:
        """Connect to the first address that answers, and close the connection at the end.

        Raises:
            WorkflowError: of type `authorization` where policy forbids it, `communication` where
                no address answers in time.
        """
        route = Route(target, self.roots, self.response_limit)
        channel, address = await self._open(route)
        try:
            yield Connection(channel, partial(route.blocking_channel, address), self, target)
        finally:
            await channel.close()

    async def _open(self, route: Route) -> tuple[grpc.aio.Channel, tuple[str, int]]:
        """Return a channel, and its address; where none is ready, its call will say why."""
        last: tuple[grpc.aio.Channel, tuple[str, int]] | None = None
        target, authority = route.target, route.target.authority
        try:
            async with asyncio.timeout(self.connect_seconds):
                for address in await self.policy.addresses(target.host, target.port):
                    if last is not None:
                        await last[0].close()
                    last = route.channel(address), address
                    if await _is_ready(last[0]):
                        break
        except BaseException as error:
            if last is not None:
                await last[0].close()
            if isinstance(error, TimeoutError):
                detail = f"{authority} did not answer within {self.connect_seconds:g} s"
                raise unavailable(detail) from None
            raise
        if last is None:
            raise unavailable(f"{authority} has no address")
        return last


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

    def __init__(
        self,
        channel: grpc.aio.Channel,
        open_blocking: Callable[[], grpc.Channel],
        client: RpcClient,
        target: Target,
    ) -> None:
        self.channel = channel
        self.server = target.url
        self._open_blocking = open_blocking
        self._limit = client.response_limit
        self._threads = client.threads

    async def call(
        self,
        method: Method,
        messages: Sequence[bytes],
        metadata: Metadata,
        memory: CallMemory,
    ) -> JSON:
        """Call a method and return its response, a list of them for a server's stream.

        From the server's first headers on it counts with the largest response: gRPC says nothing
        of a message's size before it is there.

        Raises:
            WorkflowError: of type `communication`, with the status of google.rpc's table; 500 for
                responses beyond the limit.
        """
        make = self._stream if method.client_streaming else self._send
        try:
            responses = await make(method, messages, tuple(metadata), memory)
        except grpc.RpcError as error:
            memory.forget_response()
            raise error_of(error) from None
        if not method.server_streaming and len(responses) != 1:
            detail = f"'{method.name}' has {len(responses)} responses, not one"
            raise WorkflowError.of(COMMUNICATION, detail)
        decoded = await decode_responses(method, responses, memory)
        return decoded if method.server_streaming else decoded[0]

    async def _send(
        self,
        method: Method,
        messages: Sequence[bytes],
        metadata: Metadata,
        memory: CallMemory,
    ) -> list[bytes]:
        channel: Any = self.channel  # its stubs know no calls of bytes
        call = channel.unary_stream(method.path)(messages[0], metadata=metadata)
        kept = Responses(self._limit)
        try:
            await call.initial_metadata()
            await memory.hold_response(self._limit, self.server)
            async for response in call:
                kept.add(response)
        finally:
            call.cancel()
        return kept.all

    async def _stream(
        self,
        method: Method,
        messages: Sequence[bytes],
        metadata: Metadata,
        memory: CallMemory,
    ) -> list[bytes]:
        """Send several messages, from a thread.

        Where the server ends a call before it read all of them, grpc.aio fails for its own write
        and loses the server's status.
        """
        channel: Any = self._open_blocking()
        try:
            call = channel.stream_stream(method.path)(iter(messages), metadata=metadata)
            try:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._threads, call.initial_metadata)
                await memory.hold_response(self._limit, self.server)
                return await loop.run_in_executor(self._threads, _read_all, call, self._limit)
            finally:
                call.cancel()
        finally:
            channel.close()


async def decode_responses(
    method: Method, responses: Sequence[bytes], memory: CallMemory
) -> list[JSON]:
    """Return responses as JSON: as what most are first, as what all may be where they are not."""
    size = sum(map(len, responses))
    usual = min(_USUAL_CHARACTERS + _USUAL_GROWTH * size, MAX_CHARACTERS)
    await memory.decode_response(max(size, usual))
    # In a thread: of hostile messages it takes a second.
    try:
        return await run_in_thread(decode_all, method, responses, usual)
    except HeavyError:
        await memory.decode_response(max(size, MAX_CHARACTERS))
        return await run_in_thread(decode_all, method, responses)


def _read_all(call: Iterable[bytes], limit: int) -> list[bytes]:
    kept = Responses(limit)
    for response in call:
        kept.add(response)
    return kept.all


class Responses:
    """The responses of a call, within a limit of bytes."""

    def __init__(self, limit: int) -> None:
        self.all: list[bytes] = []
        self._limit = self._left = limit

    def add(self, response: bytes) -> None:
        """Keep one more (raises WorkflowError beyond the limit)."""
        self._left -= len(response) + _MESSAGE_BYTES
        if self._left < 0:
            detail = f"the responses are larger than {self._limit} bytes"
            raise WorkflowError.of(COMMUNICATION, detail)
        self.all.append(response)
