"""The attempts bound to an execution, read from as little of its history as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from temporalio.client import Client

from stigma.contracts.executions import Kind
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api.executions.history import BINDING_EVENTS, HistoryReader
from stigma_api.executions.history_facts import Bound, Fact, RunStarted
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.histories import Histories, Run

MAX_EVENTS = 5000
MAX_BYTES = 8 * 1024 * 1024
"""Sizes of a history that is read to its end; an agent continues as new long before."""

# Events at the start of a run: most executions have no attempts but those in them.
_FIRST_EVENTS = 20
_PAGE = 200
# Reads at a time in this process: each page may hold whole conversations.
_MAX_READS = 4


class BoundAttempts:
    """Reads the attempts of callers' activities that were bound to an execution."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._histories = Histories(client)
        self._reads = asyncio.Semaphore(_MAX_READS)

    async def first(self, description: ExecutionDescription[Any]) -> list[Bind]:
        """Return the attempts that the current run began with, the last one to ask last."""
        return await self._read(description, _FIRST_EVENTS)

    async def all(self, description: ExecutionDescription[Any]) -> list[Bind] | None:
        """Return every attempt, the last one to ask last; None where that is too much to read."""
        info = description.described.workflow_execution_info
        if info.history_length > MAX_EVENTS or info.history_size_bytes > MAX_BYTES:
            return None
        return await self._read(description, MAX_EVENTS)

    async def _read(self, description: ExecutionDescription[Any], limit: int) -> list[Bind]:
        run = Run(self._client.namespace, description.execution_id, description.run_id)
        reader = HistoryReader(self._client, description.execution_id, description.digest)
        bound: dict[bytes, Bind] = {}
        async with self._reads:
            async for event in self._histories.oldest_first(run, min(limit, _PAGE)):
                if event.event_type in BINDING_EVENTS:
                    fact = await reader.read(event)
                    for bind in await _bindings(fact, description.kind.kind):
                        bound.pop(bind.token, None)  # a replay is the last one to ask
                        bound[bind.token] = bind
                if event.event_id >= limit:
                    break
        return list(bound.values())


async def _bindings(fact: Fact | None, kind: Kind) -> Iterable[Bind]:
    match fact:
        case Bound(bind=bind):
            return (bind,)
        case RunStarted(continued_run_id=previous) if previous and kind is Kind.AGENT:
            return (await fact.carried()).bindings
    return ()
