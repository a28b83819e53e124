"""A gRPC proxy that forwards bytes and does harm on demand, to stand before a real server.

Every call is forwarded as a stream, which on the wire is what a unary call is too, so that it needs
no stubs: Temporal's services, Stigma's API, health and reflection all pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from stigma_cli.devserver import free_ports
from tests.stack.waiting import eventually

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # A target that is back is found at once: waiting is not the fault that was asked for.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)
_RESERVED = ("grpc-", "user-agent", "content-type", "te")
_DEFAULT_WAIT = timedelta(seconds=60)

EVERY_METHOD = "*"

Matches = Callable[[bytes], bool]


@dataclass(frozen=True)
class Fail:
    """Answer with a status, without forwarding."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    details: str = "injected fault"


@dataclass(frozen=True)
class Delay:
    """Wait before forwarding."""

    duration: timedelta


@dataclass(frozen=True)
class LoseReply:
    """Forward, let the server act, and answer with a status instead of its reply."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    details: str = "injected fault: reply lost"


@dataclass
class Pause:
    """Hold calls back until released. ``reached`` is set when one arrives."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    """Number of calls that wait."""

    def release(self) -> None:
        """Let the calls that wait, and later ones, pass."""
        self.released.set()

    async def hold(self) -> None:
        """Wait in a call until it may pass, or its caller has hung up."""
        self.reached.set()
        self.held += 1
        try:
            await self.released.wait()
        finally:
            self.held -= 1

    async def abandoned(self) -> None:
        """Return once no call waits: a caller that was killed has hung up, which is told later."""
        await eventually(lambda: not self.held, what="callers that hang up")


Fault = Fail | Delay | LoseReply | Pause


@dataclass
class _Injection:
    fault: Fault
    left: int | None
    matches: Matches


@dataclass
class Counts:
    """How many calls of a method came in, were forwarded, answered, and harmed."""

    received: int = 0
    forwarded: int = 0
    answered: int = 0
    harmed: int = 0


class FaultProxy:
    """Listens on a port of its own and forwards every RPC to ``target`` (``host:port``).

    Methods are named by their last part, e.g. "RespondActivityTaskCompleted", or `EVERY_METHOD`.
    ``ip`` is the address of this machine that clients find it at.
    """

    def __init__(self, target: str, *, ip: str = "127.0.0.1") -> None:
        self.target = target
        self.ip = ip
        [self.port] = free_ports(1, ip)
        self.counts: defaultdict[str, Counts] = defaultdict(Counts)
        self.statuses: Counter[tuple[str, grpc.StatusCode]] = Counter()
        self._injections: defaultdict[str, list[_Injection]] = defaultdict(list)
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None
        self._upstream: grpc.aio.Channel | None = None

    @property
    def address(self) -> str:
        """What to give a client instead of ``target``."""
        return f"{self.ip}:{self.port}"

    async def start(self) -> None:
        """Listen; after `cut` again on the same port."""
        if self._server is not None:
            return
        self._upstream = grpc.aio.insecure_channel(self.target, options=_CHANNEL_OPTIONS)
        self._server = grpc.aio.server(options=_CHANNEL_OPTIONS)
        self._server.add_generic_rpc_handlers((_EveryMethod(self._forward),))
        if self._server.add_insecure_port(self.address) != self.port:
            raise RuntimeError(f"could not listen on {self.address}")
        await self._server.start()

    async def cut(self) -> None:
        """Break every connection and refuse new ones, as a lost network does, until `start`."""
        server, upstream = self._server, self._upstream
        self._server = self._upstream = None
        if server is not None:
            await server.stop(None)
        if upstream is not None:
            await upstream.close()

    def inject(
        self,
        method: str,
        fault: Fault,
        *,
        times: int | None = 1,
        matches: Matches = lambda request: True,
    ) -> None:
        """Harm the next calls of a method whose first message ``matches``; ``times`` None: all."""
        self._injections[method].append(_Injection(fault, times, matches))

    def pause(self, method: str, *, matches: Matches = lambda request: True) -> Pause:
        """Hold a method's calls back until the returned pause is released."""
        pause = Pause()
        self.inject(method, pause, times=None, matches=matches)
        return pause

    def clear(self) -> None:
        """End all faults and release what is paused."""
        for injections in self._injections.values():
            for injection in injections:
                if isinstance(injection.fault, Pause):
                    injection.fault.release()
        self._injections.clear()

    async def wait_for(
        self,
        method: str,
        enough: Callable[[Counts], bool],
        *,
        within: timedelta = _DEFAULT_WAIT,
    ) -> None:
        """Return once the method's counts are ``enough``; TimeoutError when not in time."""
        async with asyncio.timeout(within.total_seconds()), self._changed:
            await self._changed.wait_for(lambda: enough(self.counts[method]))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()
        await self.cut()

    async def _forward(
        self,
        path: str,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        method = path.rpartition("/")[2]
        await self._count(method, "received")
        first = await anext(requests, None)
        fault = self._take(method, first or b"")
        if fault is not None:
            await self._count(method, "harmed")
        match fault:
            case Fail(code, details):
                await context.abort(code, details)
            case Delay(duration):
                await asyncio.sleep(duration.total_seconds())
            case Pause() as pause:
                await pause.hold()
        await self._count(method, "forwarded")
        await self._relay(path, method, _with_first(first, requests), context, fault)

    async def _relay(
        self,
        path: str,
        method: str,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
        fault: Fault | None,
    ) -> None:
        if self._upstream is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "proxy is cut")
        lost = isinstance(fault, LoseReply)
        rpc: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._upstream.stream_stream(path)
        call = rpc(
            requests,
            timeout=context.time_remaining(),
            metadata=_passed_on(context.invocation_metadata()),
        )
        try:
            if not lost:
                await context.send_initial_metadata(_passed_on(await call.initial_metadata()))
            async for reply in call:
                if not lost:
                    await context.write(reply)
            code, details = await call.code(), await call.details() or ""
            trailing = _passed_on(await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            trailing = _passed_on(error.trailing_metadata())
        finally:
            call.cancel()
        self.statuses[method, code] += 1
        await self._count(method, "answered")
        if isinstance(fault, LoseReply):
            await context.abort(fault.code, fault.details)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, details, trailing)
        context.set_trailing_metadata(trailing)

    def _take(self, method: str, request: bytes) -> Fault | None:
        """The fault for this call, used up by one."""
        for injection in (*self._injections[method], *self._injections[EVERY_METHOD]):
            if injection.left == 0 or not injection.matches(request):
                continue
            if injection.left is not None:
                injection.left -= 1
            return injection.fault
        return None

    async def _count(self, method: str, what: str) -> None:
        counts = self.counts[method]
        setattr(counts, what, getattr(counts, what) + 1)
        async with self._changed:
            self._changed.notify_all()


class _EveryMethod(grpc.GenericRpcHandler):
    """Routes every method of every service to one forwarding function, as bytes."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> None:
            await self._forward(call.method, requests, context)

        return grpc.stream_stream_rpc_method_handler(handle)


async def _with_first(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
    with contextlib.suppress(grpc.aio.UsageError):  # the caller hung up while we listened
        async for request in rest:
            yield request


def _passed_on(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata without what gRPC itself writes; status details travel in grpc-…-bin."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key == "grpc-status-details-bin" or not key.startswith(_RESERVED)
    )
