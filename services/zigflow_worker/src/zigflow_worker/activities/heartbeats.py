"""Heartbeats of a running call: they keep it alive and bring back a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from temporalio import activity

_INTERVAL_SECONDS = 1.0


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Heartbeat while the body runs, the first time after one interval: short calls send none.

    A failure to heartbeat is logged and changes nothing about the call: failing it would have a
    call made again that has been made. A call that goes on without heartbeats is timed out.
    """
    beating = asyncio.create_task(_beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        failure = None if beating.cancelled() else beating.exception()
        if failure is not None:
            structlog.get_logger().error("heartbeat_broke", reason=type(failure).__name__)


async def _beat() -> None:
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        activity.heartbeat()
