"""Steady work for every replica, and how each one's part in it shows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from tests.reliability.calls import Call, Callers
from tests.reliability.fault_site import CALLER
from tests.stack.service import Service
from tests.stack.stack import Stack

AT_A_TIME = 6
WORKS_WITHIN = timedelta(seconds=60)
# What each replica logs when it has a part in a call.
WORK = {
    "stigma_api": "workflow_started",
    "stigma_orchestrator": "delivered",
    "ai_worker": "model_call_completed",
    "zigflow_worker": "pending",
    CALLER: "pending",
}


@asynccontextmanager
async def load(stack: Stack, heartbeat_timeout: float = 60.0) -> AsyncIterator[list[Call]]:
    """Calls, one after the other, as long as the context lasts; every one ends before it does.

    `heartbeat_timeout`, in seconds, is when a caller's worker is missed that is killed between its
    token and its acknowledgement.
    """
    callers, calls, enough = Callers(stack), list[Call](), asyncio.Event()

    async def keep_asking(first: int) -> None:
        for number in itertools.count(first):
            if enough.is_set():
                return
            if number % 2:
                call = await callers.engine(delay=0.3)
            else:
                call = await callers.worker(delay=0.3, heartbeat_timeout=heartbeat_timeout)
            calls.append(call)
            await call.answer()

    async with asyncio.TaskGroup() as group:
        for number in range(AT_A_TIME):
            group.create_task(keep_asking(number))
        try:
            yield calls
        finally:
            enough.set()


async def works(replica: Service) -> None:
    """Return once it has had a part in a call from now on."""
    seen = replica.log.position()
    await replica.log.wait_for(WORK[replica.name], since=seen, within=WORKS_WITHIN)
