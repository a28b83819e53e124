"""What the alerts are about, made on a real installation."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from temporalio.client import WorkflowFailureError

from tests.integration.callers import Job, PythonCaller
from tests.integration.installation import Installation
from tests.stack.faults import Fail, FaultProxy
from tests.stack.waiting import eventually

# So that a range of some seconds has several.
_PAUSE_SECONDS = 0.5
_AT_A_TIME = 3

_FORBIDDEN = "forbidden-"

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
    """Run documents whose agent fails, some at a time: one now and then is no alert."""
    while True:
        handles = [await site.run_document(BROKEN_DOCUMENT) for _ in range(_AT_A_TIME)]
        for handle in handles:
            with contextlib.suppress(WorkflowFailureError):
                await handle.result()
        await asyncio.sleep(_PAUSE_SECONDS)


def forbid_deliveries(temporal_of_orchestrator: FaultProxy) -> None:
    """Take the permission to complete activities of `Parked` from the orchestrator."""
    refused = Fail(grpc.StatusCode.PERMISSION_DENIED)
    temporal_of_orchestrator.inject(
        "RespondActivityTaskCompleted",
        refused,
        times=None,
        matches=lambda request: _FORBIDDEN.encode() in request,
    )


async def fail_deliveries(site: Installation) -> None:
    """Have agents end for activities that the orchestrator may not complete."""
    while True:
        async with AsyncExitStack() as parked:
            for _ in range(_AT_A_TIME):
                caller = await site.park(f"{_FORBIDDEN}{uuid.uuid4().hex}")
                parked.push_async_callback(caller.terminate)
                token = await site.tokens.of(caller.id)
                started = await site.start(agent_id="echo", message="?", callback_token=token)
                await site.told(started.id)
        await asyncio.sleep(_PAUSE_SECONDS)


async def resolve_otherwise(site: Installation) -> None:
    """Have an agent end for an activity that somebody else has completed meanwhile."""
    parked = await site.park()
    token = await site.tokens.of(parked.id)
    message = uuid.uuid4().hex
    started = await site.start(agent_id="held", message=message, callback_token=token)
    call = await site.gate.held(message)
    await site.client.get_async_activity_handle(task_token=token).complete(None)
    call.answer("too late")
    await site.told(started.id)


async def leave(site: Installation) -> None:
    """Call an agent, and be terminated before it has its answer."""
    job = Job("held", uuid.uuid4().hex, heartbeat_timeout=2)
    called = await site.call(PythonCaller, job)
    await site.gate.held(job.message)
    await called.workflow.terminate()
    await site.told(called.execution_id)


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
    Condition("StigmaDeliveriesFail", "activities not ours to complete", fail_deliveries),
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
        await eventually(lambda: site.exists(execution_id), what="the start by its caller")
        await site.cancel(execution_id)
        raise
