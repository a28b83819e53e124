"""Two of every service share the work, survive the loss of one, and are replaced unnoticed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import EventType

from tests.reliability.calls import events
from tests.reliability.fault_site import CALLER, engine_heartbeat
from tests.reliability.load import load, works
from tests.stack.plugin import StartStack
from tests.stack.service import Service
from tests.stack.stack import SERVICES, Stack

REPLICATED = (*SERVICES, CALLER)
HEARTBEAT = 12.0
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
    async with load(pairs, HEARTBEAT) as calls:
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


async def replace(process: Service) -> None:
    assert await process.stop() == 0
    process.start()
    await process.wait_ready()
    await works(process)


def replicas(stack: Stack, service: str) -> list[Service]:
    return [stack.process(service, number) for number in (0, 1)]


def all_replicas(stack: Stack) -> list[Service]:
    return [one for service in REPLICATED for one in replicas(stack, service)]
