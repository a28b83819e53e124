"""What the alerts are about, made on a real installation."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from temporalio.client import WorkflowFailureError

from tests.integration.callers import Job, PythonCaller
from tests.integration.installation import Installation

# So that a range of some seconds has several.
_PAUSE_SECONDS = 0.5

BROKEN_DOCUMENT = """
document: {dsl: 1.0.3, namespace: alerts, name: broken, version: 1.0.0}
do:
  - ask: {call: agent, with: {agent: broken}}
"""
GOOD_DOCUMENT = BROKEN_DOCUMENT.replace("broken", "echo")


@dataclass(frozen=True)
class Condition:
    """Something wrong, kept up for as long as it takes."""

    alert: str
    text: str
    make: Callable[[Installation], Coroutine[Any, Any, None]]


async def hold_a_caller(site: Installation) -> None:
    """Call an agent whose model never answers."""
    await site.call(PythonCaller, Job("held", f"for ever {uuid.uuid4().hex}", timeout=600))


async def nearly_time_out(site: Installation) -> None:
    """Call an agent that will not make its deadline, again when it has passed."""
    while True:
        job = Job("held", f"too late {uuid.uuid4().hex}", agent_timeout=20)
        call = await site.call(PythonCaller, job)
        async with _not_left_over(site, call.execution_id):
            with contextlib.suppress(WorkflowFailureError):
                await call.result()


async def fail_agents(site: Installation) -> None:
    """Run documents whose agent fails."""
    while True:
        handle = await site.run_document(BROKEN_DOCUMENT)
        with contextlib.suppress(WorkflowFailureError):
            await handle.result()
        await asyncio.sleep(_PAUSE_SECONDS)


async def fail_deliveries(site: Installation) -> None:
    """Have agents end for activities that somebody else has completed meanwhile."""
    while True:
        parked = await site.park()
        token = await site.tokens.of(parked.id)
        message = uuid.uuid4().hex
        started = await site.start(agent_id="held", message=message, callback_token=token)
        async with _not_left_over(site, started.id):
            call = await site.gate.held(message)
            await site.client.get_async_activity_handle(task_token=token).complete(None)
            call.answer("too late")
            await asyncio.sleep(_PAUSE_SECONDS)


async def send_bad_tokens(site: Installation) -> None:
    """Start agents with what is no token."""
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await site.start(agent_id="echo", message="?", callback_token=b"no token at all")
        await asyncio.sleep(_PAUSE_SECONDS)


CONDITIONS = (
    Condition("StigmaCallsStuck", "a call whose agent's model never answers", hold_a_caller),
    Condition("StigmaCallsApproachTimeout", "a call with 20 s for its agent", nearly_time_out),
    Condition("StigmaExecutionsFail", "documents that call a broken agent", fail_agents),
    Condition("StigmaAgentCallsFail", "the same", fail_agents),
    Condition("StigmaModelCallsFail", "the same", fail_agents),
    Condition("StigmaDeliveriesFail", "activities completed by another", fail_deliveries),
    Condition("StigmaCallbackTokensRefused", "starts with a damaged token", send_bad_tokens),
)


@asynccontextmanager
async def all_wrong(site: Installation) -> AsyncIterator[None]:
    """Keep every condition up."""
    makers = dict.fromkeys(condition.make for condition in CONDITIONS)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make(site)) for make in makers]
        yield
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _not_left_over(site: Installation, execution_id: str) -> AsyncIterator[None]:
    """End an execution when the condition is given up while it runs."""
    try:
        yield
    except asyncio.CancelledError:
        await site.cancel(execution_id)
        raise
