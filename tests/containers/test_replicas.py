"""Two of every service share the work, and survive the loss of one of each; in soak, three."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import pytest

from tests.containers.stack import ContainerStack
from tests.reliability.fault_site import CALLER, engine_heartbeat
from tests.reliability.load import WORK, load, works
from tests.stack.plugin import StartStack
from tests.stack.service import Service
from tests.stack.stack import SERVICES

REPLICATED = (*SERVICES, CALLER)
WITHIN = timedelta(seconds=120)
# Nobody shares exactly; half of an even share is no replica that stands by.
LEAST_SHARE = 0.25
ENOUGH = 25


@pytest.fixture(scope="module")
async def replicated(new_container_stack: StartStack) -> AsyncIterator[ContainerStack]:
    stack = await new_container_stack(
        services=REPLICATED, environment={"zigflow_worker": engine_heartbeat()}
    )
    yield cast("ContainerStack", stack)
    await stack.stop()


@pytest.mark.contract("any service SIGKILLed at any point, delivery included")
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.soak)])
async def test_they_share_the_work_and_survive_the_loss_of_one(
    replicated: ContainerStack, size: int
) -> None:
    await grow(replicated, size)
    everyone = [one for service in REPLICATED for one in replicas(replicated, service, size)]
    seen = {one: one.log.position() for one in everyone}
    async with load(replicated) as calls:
        await asyncio.gather(*(works(one) for one in everyone))
        while len(calls) < ENOUGH:
            await calls[-1].answer()
        shares = {one: len(one.log.events(WORK[one.name], since=seen[one])) for one in everyone}
        await asyncio.gather(*(replicated.process(one, size - 1).kill() for one in REPLICATED))
        await asyncio.gather(
            *(works(one) for name in REPLICATED for one in replicas(replicated, name, size - 1))
        )
    for call in calls:
        await call.check(WITHIN)
    for service in REPLICATED:
        had = [shares[one] for one in replicas(replicated, service, size)]
        sys.stdout.write(f"{service}: {' '.join(map(str, had))}\n")
        assert min(had) >= LEAST_SHARE * sum(had) / size, f"{service} shared {had}"
    await replicated.start()


async def grow(stack: ContainerStack, size: int) -> None:
    """Start the missing replicas. Callers look up the API's name when they connect."""
    for _ in range(size - 1):
        missing = [one for one in REPLICATED if len(stack.replicas(one)) < size]
        await asyncio.gather(*(stack.replicate(one) for one in missing))
    await stack.kill("zigflow_worker", CALLER)
    await stack.start()


def replicas(stack: ContainerStack, service: str, count: int) -> list[Service]:
    return stack.replicas(service)[:count]
