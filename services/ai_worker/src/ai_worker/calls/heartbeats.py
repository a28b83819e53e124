"""Heartbeats of a running activity: they keep it alive and bring back a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity

# Also the worker's throttle: a cancel reaches a running call within this time plus one RPC.
HEARTBEAT_INTERVAL = timedelta(seconds=2)


@asynccontextmanager
async def heartbeats(interval: timedelta = HEARTBEAT_INTERVAL) -> AsyncIterator[None]:
    """Heartbeat while the body runs, the first time after one interval: short calls send none."""
    beating = asyncio.create_task(_beat(interval.total_seconds()))
    try:
        yield
    finally:
        beating.cancel()


async def _beat(seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        activity.heartbeat()
