"""Connections to addresses that the outgoing policy has checked, and to no others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpcore2
from typing_extensions import override

from zigflow_worker.outgoing.bounded_stream import BoundedStream
from zigflow_worker.outgoing.policy import OutgoingPolicy


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Resolves each host once, and connects to an address of those that were checked."""

    def __init__(self, policy: OutgoingPolicy) -> None:
        self._policy = policy
        self._network = httpcore2.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(host, port, local_address, socket_options)
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None

    async def _connect(
        self,
        host: str,
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        failure = httpcore2.ConnectError()
        for address in await self._policy.addresses(host, port):
            try:
                stream = await self._network.connect_tcp(
                    *address, local_address=local_address, socket_options=socket_options
                )
                return BoundedStream(stream)
            except httpcore2.ConnectError as error:
                failure = error
        raise failure

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
