"""Every service replaced by new containers, one after the other, under a steady load of calls.

`make soak` does it for five minutes with 10 calls a second (STIGMA_TEST_REPLACEMENT_SECONDS,
STIGMA_TEST_REPLACEMENT_RATE); all tests do a short one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.containers.stack import ContainerStack
from tests.reliability.calls import Call, executions_on
from tests.reliability.site import Deployment
from tests.stack.stack import SERVICES

Deployed = Deployment[ContainerStack]
Start = Callable[..., Coroutine[Any, Any, Call]]
LONG_SECONDS = float(os.environ.get("STIGMA_TEST_REPLACEMENT_SECONDS", "300"))
LONG_RATE = float(os.environ.get("STIGMA_TEST_REPLACEMENT_RATE", "10"))
SHORT_SECONDS = 40.0
SHORT_RATE = 3.0
MODEL_SECONDS = 0.3
WITHIN = timedelta(seconds=120)


@dataclass
class Handshake:
    """A call, and how long its caller waited; `seconds` is None when no right answer came."""

    call: Call
    seconds: float | None = None


@pytest.mark.soak
async def test_replacing_every_service_for_long(deployment: Deployed) -> None:
    await replace_under_load(deployment, LONG_SECONDS, LONG_RATE)


@pytest.mark.timeout(300)
async def test_replacing_every_service(deployment: Deployed) -> None:
    await replace_under_load(deployment, SHORT_SECONDS, SHORT_RATE)


async def replace_under_load(deployment: Deployed, seconds: float, rate: float) -> None:
    handshakes, rounds = list[Handshake](), 0
    clock = asyncio.get_running_loop().time
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(keep_calling(deployment, rate, handshakes, group))
        end = clock() + seconds
        while not rounds or clock() < end:
            for service in SERVICES:
                await deployment.stack.replicate(service)
                await deployment.stack.retire(service)
            rounds += 1
        calling.cancel()
    lost = [one for one in handshakes if one.seconds is None]
    doubled = await done_twice(deployment, handshakes)
    slowest = max((one.seconds for one in handshakes if one.seconds is not None), default=0.0)
    sys.stdout.write(
        f"{rounds} replacements of every service under {rate:g} handshakes a second: "
        f"started {len(handshakes)}, finished {len(handshakes) - len(lost)}, lost {len(lost)}, "
        f"doubled {len(doubled)}, slowest {slowest:.2f} s\n"
    )
    assert len(handshakes) >= 0.8 * rate * seconds, "the load was not what was asked for"
    assert [one.call.handle.id for one in lost] == []
    assert doubled == []


async def keep_calling(
    deployment: Deployed, rate: float, handshakes: list[Handshake], group: asyncio.TaskGroup
) -> None:
    """Start calls at a steady rate until cancelled, whether or not the earlier ones have ended."""
    clock, callers = asyncio.get_running_loop().time, deployment.callers
    began = clock()
    for number in itertools.count():
        await asyncio.sleep(began + number / rate - clock())  # the rate itself
        start = callers.engine if number % 2 else callers.worker
        group.create_task(shake_hands(start, handshakes))


async def shake_hands(start: Start, handshakes: list[Handshake]) -> None:
    """One call, from its start to its answer."""
    clock = asyncio.get_running_loop().time
    began = clock()
    handshake = Handshake(await start(delay=MODEL_SECONDS))
    handshakes.append(handshake)
    with contextlib.suppress(TimeoutError):
        answered = await handshake.call.answer(WITHIN)
        if answered == handshake.call.right_answer:
            handshake.seconds = clock() - began


async def done_twice(deployment: Deployed, handshakes: list[Handshake]) -> list[str]:
    """What was done more than once: a caller resolved, an execution, a call of a model."""
    executions = [(await one.call.completion()).id for one in handshakes if one.seconds is not None]
    doubled = [one for one, count in Counter(executions).items() if count > 1]
    calls = Counter(
        (one["execution_id"], one["step"]) for one in deployment.stack.events("model_call_started")
    )
    doubled += [one for one in executions if calls[one, 1] > 1]
    more = len(await executions_on(deployment.stack)) - deployment.callers.started
    return doubled + ["an execution that nobody asked for"] * more
