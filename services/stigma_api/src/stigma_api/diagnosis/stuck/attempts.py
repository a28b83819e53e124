"""The attempts bound to an execution, read from no more of its history than tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.contracts.executions import Kind
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api.executions import history
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.histories import Histories, Run

MAX_EVENTS = 5000
MAX_BYTES = 8 * 1024 * 1024
"""Of a run whose history is read to its end: an agent goes on in another one long before."""

# The start and who asked first: most executions have no attempts but these.
_BEGINNING = 20
_PAGE = 200
# Of all looks in this process together: each page may hold whole conversations.
_AT_A_TIME = 4


class Attempts:
    """Reads who has asked for an execution."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._histories = Histories(client)
        self._room = asyncio.Semaphore(_AT_A_TIME)

    async def first(self, subject: ExecutionDescription[Any]) -> list[Bind]:
        """Return the attempts that the current run began with, the last one to ask last."""
        return await self._read(subject, _BEGINNING)

    async def all(self, subject: ExecutionDescription[Any]) -> list[Bind] | None:
        """Return every attempt, the last one to ask last; None where that is too much to read."""
        info = subject.described.workflow_execution_info
        if info.history_length > MAX_EVENTS or info.history_size_bytes > MAX_BYTES:
            return None
        return await self._read(subject, MAX_EVENTS)

    async def _read(self, subject: ExecutionDescription[Any], limit: int) -> list[Bind]:
        run = Run(self._client.namespace, subject.execution_id, subject.run_id)
        bound: dict[bytes, Bind] = {}
        async with self._room:
            async for event in self._histories.oldest_first(run, min(limit, _PAGE)):
                for bind in await self._bound(subject, event):
                    bound.pop(bind.token, None)  # a replay is the last one to ask
                    bound[bind.token] = bind
                if event.event_id >= limit:
                    break
        return list(bound.values())

    async def _bound(
        self, subject: ExecutionDescription[Any], event: HistoryEvent
    ) -> Iterable[Bind]:
        """Return the attempts that an event tells of, without those that the workflow ignored."""
        started = event.workflow_execution_started_event_attributes
        if started.continued_execution_run_id and subject.kind.kind is Kind.AGENT:
            return (await history.carried(self._client, event)).bindings
        bind = await history.signaled(self._client, event, subject.digest)
        return () if bind is None else (bind,)
