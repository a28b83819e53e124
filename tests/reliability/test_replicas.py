"""Two of every service share the work, survive the loss of one, and are replaced unnoticed."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio.api.enums.v1 import EventType

from tests.reliability.calls import Call, Callers, events
from tests.reliability.site import CALLER, engine_heartbeat
from tests.stack.plugin import StartStack
from tests.stack.processes import ServiceProcess
from tests.stack.stack import SERVICES, Stack

AT_A_TIME = 6
REPLICATED = (*SERVICES, CALLER)
# What each replica logs when it has a part in a call.
WORK = {
    "stigma_api": "workflow_started",
    "stigma_orchestrator": "delivered",
    "ai_worker": "model_call_completed",
    "zigflow_worker": "pending",
    CALLER: "pending",
}
FAILURES = (
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
)


@pytest.fixture(scope="module")
async def pairs(new_stack: StartStack) -> AsyncIterator[Stack]:
    """Every service twice; callers know both replicas of the API."""
    stack = await new_stack(
        services=(*SERVICES, CALLER), environment={"zigflow_worker": engine_heartbeat()}
    )
    await asyncio.gather(*(stack.replicate(service) for service in REPLICATED))
    both = ",".join(
        f"127.0.0.1:{one.environment['STIGMA_API_PORT']}" for one in replicas(stack, "stigma_api")
    )
    for service in ("zigflow_worker", CALLER):
        for one in replicas(stack, service):
            one.environment["STIGMA_API_ADDRESS"] = f"ipv4:{both}"
    await stack.restart("zigflow_worker", CALLER)
    yield stack
    await stack.stop()


@pytest.mark.contract("any service SIGKILLed at any point, delivery included")
async def test_they_share_the_work_and_survive_the_loss_of_one(pairs: Stack) -> None:
    async with load(pairs) as calls:
        await asyncio.gather(*(works(one) for one in all_replicas(pairs)))
        for service in REPLICATED:
            await pairs.process(service, 1).kill()
        left = [pairs.process(service) for service in REPLICATED]
        await asyncio.gather(*(works(one) for one in left))
    for call in calls:
        await call.check()
    await pairs.start()


async def test_replacing_them_one_after_the_other_fails_nothing(pairs: Stack) -> None:
    """SIGTERM: each ends what it has begun, within its grace period, and exits with 0."""
    async with load(pairs) as calls:
        for number in (0, 1):
            await asyncio.gather(
                *(replace(pairs.process(service, number)) for service in REPLICATED)
            )
    executions = {(await call.check()).id for call in calls}
    for call in calls:
        assert await events(call.handle, *FAILURES) == []
        agent = pairs.client.get_workflow_handle((await call.completion()).id)
        assert await events(agent, *FAILURES) == []
    started = [
        (one["execution_id"], one["step"])
        for one in pairs.events("model_call_started")
        if one["execution_id"] in executions
    ]
    assert Counter(started).total() == len(executions)


async def replace(process: ServiceProcess) -> None:
    assert await process.stop() == 0
    process.start()
    await process.wait_ready()
    await works(process)


async def works(process: ServiceProcess) -> None:
    """Return once it has had a part in a call from now on."""
    seen = process.log.position()
    await process.log.wait_for(WORK[process.name], since=seen)


@asynccontextmanager
async def load(stack: Stack) -> AsyncIterator[list[Call]]:
    """Calls, one after the other, as long as the context lasts; every one ends before it does."""
    callers, calls, enough = Callers(stack), list[Call](), asyncio.Event()

    async def keep_asking(first: int) -> None:
        for number in itertools.count(first):
            if enough.is_set():
                return
            start = callers.engine if number % 2 else callers.worker
            call = await start(delay=0.3)
            calls.append(call)
            await call.answer()

    async with asyncio.TaskGroup() as group:
        for number in range(AT_A_TIME):
            group.create_task(keep_asking(number))
        try:
            yield calls
        finally:
            enough.set()


def replicas(stack: Stack, service: str) -> list[ServiceProcess]:
    return [stack.process(service, number) for number in (0, 1)]


def all_replicas(stack: Stack) -> list[ServiceProcess]:
    return [one for service in REPLICATED for one in replicas(stack, service)]
