"""Heartbeats of a running activity: they keep it alive and bring back a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity

# A cancel reaches a running call within this time plus one RPC.
HEARTBEAT_INTERVAL = timedelta(seconds=2)
# Also the worker's throttle, which must be no longer: what is sent would be older than it need be.
DETAILED_HEARTBEAT_INTERVAL = timedelta(seconds=1)

Details = Callable[[], Mapping[str, Any]]


@asynccontextmanager
async def heartbeats(details: Details | None = None) -> AsyncIterator[None]:
    """Heartbeat while the body runs, the first time after one interval: short calls send none.

    Args:
        details: returns those of the next heartbeat, a JSON object; None: they have none.
    """
    beating = asyncio.create_task(_beat(details))
    try:
        yield
    finally:
        beating.cancel()


async def _beat(details: Details | None) -> None:
    interval = DETAILED_HEARTBEAT_INTERVAL if details else HEARTBEAT_INTERVAL
    while True:
        await asyncio.sleep(interval.total_seconds())
        if details is None:
            activity.heartbeat()
        else:
            activity.heartbeat(details())
