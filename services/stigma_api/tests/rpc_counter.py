"""What a reader of histories decodes, and whether others on its event loop got their turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec

from stigma.contracts.payloads import DATA_CONVERTER


class Decoded(PayloadCodec):
    """Counts the payloads that go through it, and changes none."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._in_turn: Counter[int] = Counter()
        self._turn = 0

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        for payload in payloads:
            self._kinds[payload.metadata.get("messageType", b"").decode()] += 1
            self._in_turn[self._turn] += 1
        return list(payloads)

    def of(self, kind: type[Message]) -> int:
        """How many messages of a kind were decoded."""
        return self._kinds[kind.DESCRIPTOR.full_name]

    @property
    def most_in_one_turn(self) -> int:
        """How many payloads were decoded at most before somebody else had a turn."""
        return max(self._in_turn.values())

    @asynccontextmanager
    async def beside_somebody(self) -> AsyncIterator[None]:
        """Run beside a task that wants its turn all the time."""

        async def wait_for_turns() -> None:
            while True:
                self._turn += 1
                await asyncio.sleep(0)

        somebody = asyncio.create_task(wait_for_turns())
        try:
            yield
        finally:
            somebody.cancel()


def counted(client: Client) -> tuple[Client, Decoded]:
    """A client of the same namespace, and what is decoded with it."""
    decoded = Decoded()
    converter = replace(DATA_CONVERTER, payload_codec=decoded)
    return Client(
        client.service_client, namespace=client.namespace, data_converter=converter
    ), decoded
