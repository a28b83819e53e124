"""A network that delivers everything, late."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.reliability.fault_site import FaultSite
from tests.stack.faults import EVERY_METHOD, Delay

LATENCY = timedelta(milliseconds=400)
CALLS = 6


async def test_every_call_between_services_is_late(site: FaultSite) -> None:
    """Callers to the API, the API and the orchestrator to Temporal: each RPC of all of them."""
    for proxy in site.proxies:
        proxy.inject(EVERY_METHOD, Delay(LATENCY), times=None)
    starts = [site.callers.engine, site.callers.worker] * (CALLS // 2)
    began = asyncio.get_running_loop().time()
    calls = await asyncio.gather(*(start() for start in starts))
    executions = [await call.check() for call in calls]
    took = asyncio.get_running_loop().time() - began
    assert len({one.id for one in executions}) == CALLS
    assert took > 3 * LATENCY.total_seconds(), "to the API, to start, to deliver"
    for call in calls:
        attempts = site.stack.events("token_taken", workflow_id=call.handle.id)
        assert len(attempts) == 1, "late is not lost: nobody asks again"
