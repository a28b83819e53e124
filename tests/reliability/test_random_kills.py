"""SIGKILL at random moments, of every service, while calls run."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from datetime import timedelta

import pytest

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_COMPLETED
from tests.reliability.calls import Call
from tests.reliability.fault_site import CALLER, FaultSite
from tests.stack.stack import SERVICES

CALLS = int(os.environ.get("STIGMA_TEST_RANDOM_CALLS", "40"))
SEED = os.environ.get("STIGMA_TEST_SEED")
AT_A_TIME = 8
HEARTBEAT = 6.0
KILLABLE = (*SERVICES, CALLER)
KILLS_EACH = 2
LONGEST_PAUSE_SECONDS = 1.5
WITHIN = timedelta(seconds=120)


@pytest.mark.contract("any service SIGKILLed at any point, delivery included")
@pytest.mark.timeout(300)
async def test_calls_under_random_kills(site: FaultSite) -> None:
    seed = int(SEED) if SEED else random.randrange(2**32)
    sys.stdout.write(f"STIGMA_TEST_SEED={seed} repeats these choices\n")
    rng = random.Random(seed)
    killing = asyncio.create_task(kill_all_in_turn(site, random.Random(seed)))
    executions: list[str] = []

    async def keep_asking() -> None:
        while len(executions) < CALLS or not killing.done():
            executions.append(await ask(site, rng.random()))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(keep_asking())
    await killing
    assert len(set(executions)) == len(executions) >= CALLS
    for execution in executions:
        told = await site.outcome(execution)
        assert told.phase == AGENT_EXECUTION_PHASE_COMPLETED
    calls = model_calls(site)
    assert {execution for execution, _ in calls} == set(executions)
    # A kill of the AI worker has the calls repeated that it was in, and no others.
    assert max(calls.values()) <= 1 + KILLS_EACH
    assert calls.total() - len(calls) <= KILLS_EACH * AT_A_TIME


async def ask(site: FaultSite, chance: float) -> str:
    """One call, by either caller; answered right, once: the execution's id."""
    delay = round(chance, 2)
    call: Call
    if chance < 0.5:
        call = await site.callers.engine(delay=delay)
    else:
        call = await site.callers.worker(delay=delay, heartbeat_timeout=HEARTBEAT)
    return (await call.check(WITHIN)).id


async def kill_all_in_turn(site: FaultSite, rng: random.Random) -> None:
    """Kill every service twice, in any order, and start it again at once."""
    order = list(KILLABLE) * KILLS_EACH
    rng.shuffle(order)
    for service in order:
        await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_SECONDS))  # any moment, not one
        await site.stack.kill(service)
        sys.stdout.write(f"killed {service}\n")
        await site.stack.start(service)


def model_calls(site: FaultSite) -> Counter[tuple[str, int]]:
    """How often each step of each execution called its model."""
    started = site.stack.process("ai_worker").log.events("model_call_started")
    return Counter((one["execution_id"], one["step"]) for one in started)
