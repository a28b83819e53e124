"""The watches over callers, in this process: how often they looked, and how they stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from temporalio.client import Client
from typing_extensions import override

from stigma.internal.v1.execution_pb2 import WatchCallerRequest
from stigma_orchestrator.delivery.caller_look import CallerLooks, Look
from stigma_orchestrator.delivery.kept_watches import KeptWatches
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.worker import new_watch_worker


class CountedLooks(CallerLooks):
    """Counts the looks at the callers of each execution."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.counts = Counter[str]()

    @override
    async def look(
        self, request: WatchCallerRequest, now: datetime, lost_since: datetime | None
    ) -> Look:
        look = await super().look(request, now, lost_since)
        self.counts[request.execution_id] += 1
        return look


@asynccontextmanager
async def watching(
    client: Client, looks: CallerLooks, settings: OrchestratorSettings
) -> AsyncIterator[KeptWatches]:
    """Watch callers; what is kept is given up in the end."""
    kept, worker = new_watch_worker(client, looks, settings)
    await kept.start()
    async with worker:
        yield kept
    await kept.stop(timedelta(seconds=5))


@asynccontextmanager
async def lost_in_the_end(
    client: Client, looks: CallerLooks, settings: OrchestratorSettings
) -> AsyncIterator[KeptWatches]:
    """Watch callers; what is kept is lost in the end, as with a process that was killed."""
    kept, worker = new_watch_worker(client, looks, settings)
    keeping = asyncio.create_task(kept.run())
    async with worker:
        yield kept
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
