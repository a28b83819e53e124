"""Services that are away, blind or slow, and a queue that nobody works off."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc

from tests.integration.callers import Job, PythonCaller
from tests.integration.installation import Installation
from tests.stack.faketime import other_clock
from tests.stack.faults import Delay, Fail, FaultProxy
from tests.stack.waiting import eventually

# The alert says more than a hundred.
_DOCUMENTS = 130
# For a minute: what comes before the alert takes half of it.
_DELIVERIES = 60
_PAUSE_SECONDS = 1.0
_SLOW = timedelta(seconds=0.8)

OUTAGES = {
    "StigmaClockSkew": "an API a minute ahead",
    "StigmaServiceDown": "the engine killed",
    "StigmaBacklogGrows": f"{_DOCUMENTS} documents started meanwhile",
    "StigmaServiceNotReady": "an API that may not see the namespace's search attributes",
    "StigmaClusterMetricsMissing": "nor count workflows",
    "StigmaDeliveriesSlow": f"{_SLOW.total_seconds():g} s on the way to Temporal",
}
"""By their alerts."""

IDLE_DOCUMENT = """
document: {dsl: 1.0.3, namespace: alerts, name: idle, version: 1.0.0}
do:
  - nothing: {set: {done: true}}
"""


async def put_the_clock_forward(site: Installation) -> None:
    """Start the first replica of the API again, a minute ahead, and have it start something."""
    api = site.stack.process("stigma_api")
    await api.stop()
    api.environment |= other_clock(60)
    api.start()
    await api.wait_ready()
    await eventually(lambda: _is_taken(site), what="an execution is started")


async def _is_taken(site: Installation) -> bool:
    try:
        return bool((await site.ask("echo", "what time is it?")).id)
    except grpc.aio.AioRpcError:
        return False  # the channel has not found it again


async def kill_the_engine(site: Installation) -> None:
    """Kill it, and start documents all the same."""
    await site.stack.kill("zigflow_worker")
    await asyncio.gather(*(site.run_document(IDLE_DOCUMENT) for _ in range(_DOCUMENTS)))


async def refuse_the_api(site: Installation, temporal: FaultProxy) -> None:
    """Start every replica again, to find that it may not look at Temporal any more."""
    refused = Fail(grpc.StatusCode.PERMISSION_DENIED, "not any more")
    for method in ("CountWorkflowExecutions", "ListSearchAttributes"):
        temporal.inject(method, refused, times=None)
    await site.stack.stop("stigma_api")
    for replica in range(2):
        site.stack.process("stigma_api", replica).start()


@asynccontextmanager
async def slow_deliveries(site: Installation, temporal: FaultProxy) -> AsyncIterator[None]:
    """Have outcomes delivered all the time, slowly. Nothing of it needs the API once it began."""
    message = uuid.uuid4().hex
    await asyncio.gather(
        *(site.call(PythonCaller, Job("held", message)) for _ in range(_DELIVERIES))
    )
    for nth in range(1, _DELIVERIES + 1):
        await site.gate.held(message, nth=nth)
    for method in ("RespondActivityTaskCompleted", "RespondActivityTaskCompletedById"):
        temporal.inject(method, Delay(_SLOW), times=None)
    async with asyncio.TaskGroup() as group:
        answering = group.create_task(_answer(site, message))
        yield
        answering.cancel()
    temporal.clear()


async def _answer(site: Installation, message: str) -> None:
    for call in site.gate.calls(message):
        call.answer("at last")
        await asyncio.sleep(_PAUSE_SECONDS)
