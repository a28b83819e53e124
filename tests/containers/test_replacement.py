"""Every service replaced by new containers, one after the other, under a steady load of calls.

`make soak` does it for five minutes with 10 calls a second (STIGMA_TEST_REPLACEMENT_SECONDS,
STIGMA_TEST_REPLACEMENT_RATE), and between images of the past release and this one's; all tests do
a short one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.containers.stack import ContainerStack
from tests.reliability.calls import Call, executions_on
from tests.reliability.fault_site import Deployment
from tests.stack.stack import SERVICES
from tests.upgrades.past_release import UnknownReleaseError, check_out, releases

Deployed = Deployment[ContainerStack]
Start = Callable[..., Coroutine[Any, Any, Call]]
LONG_SECONDS = float(os.environ.get("STIGMA_TEST_REPLACEMENT_SECONDS", "300"))
LONG_RATE = float(os.environ.get("STIGMA_TEST_REPLACEMENT_RATE", "10"))
SHORT_SECONDS = 40.0
# Beside other tests: more calls than two busy cores can answer would wait for ever longer.
SHORT_RATE = 1.0
MODEL_SECONDS = 0.3
LONG_MODEL_SECONDS = 4.0
UPGRADE_SECONDS = 60.0
UPGRADE_RATE = 2.0
BUILT_WITHIN_SECONDS = 900
THIS_VERSION = ""
PAST = "past"
WITHIN = timedelta(seconds=180)


@dataclass
class Handshake:
    """A call, and how long its caller waited; `seconds` is None when no right answer came.

    `instead` is what came then.
    """

    call: Call
    seconds: float | None = None
    instead: str = "no answer"


@pytest.mark.soak
async def test_replacing_every_service_for_long(deployment: Deployed) -> None:
    await replace_under_load(deployment, LONG_SECONDS, LONG_RATE)


@pytest.mark.timeout(400)
async def test_replacing_every_service(deployment: Deployed) -> None:
    await replace_under_load(deployment, SHORT_SECONDS, SHORT_RATE)


@pytest.fixture(scope="module")
def past_images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tag of the past release's images, built from its commit."""
    try:
        tree = check_out(releases()[-1], tmp_path_factory.mktemp("release"))
    except UnknownReleaseError as error:
        pytest.skip(str(error))
    images = [service.replace("_", "-") for service in SERVICES]
    subprocess.run(
        [str(tree.directory / "tools/images"), *images],
        env=os.environ | {"TAG": PAST},
        timeout=BUILT_WITHIN_SECONDS,
        check=True,
    )
    return PAST


@pytest.mark.soak
async def test_upgrades_and_rollbacks_of_images(deployment: Deployed, past_images: str) -> None:
    """To the past release's and back again and again, while models work and callers wait."""
    there_and_back = (past_images, THIS_VERSION)
    await replace_under_load(
        deployment, UPGRADE_SECONDS, UPGRADE_RATE, there_and_back, model_seconds=LONG_MODEL_SECONDS
    )


async def replace_under_load(
    deployment: Deployed,
    seconds: float,
    rate: float,
    tags: Sequence[str] = (THIS_VERSION,),
    *,
    model_seconds: float = MODEL_SECONDS,
) -> None:
    """Replace all services for so long, in each round by the images of each tag."""
    handshakes, rounds = list[Handshake](), 0
    clock = asyncio.get_running_loop().time
    async with asyncio.TaskGroup() as group:
        asking = keep_calling(deployment, rate, model_seconds, handshakes, group)
        calling = group.create_task(asking)
        end = clock() + seconds
        while not rounds or clock() < end:
            for tag, service in itertools.product(tags, SERVICES):
                deployment.stack.tag = tag
                await deployment.stack.replicate(service)
                await deployment.stack.retire(service)
            rounds += len(tags)
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
    assert {one.call.handle.id: one.instead for one in lost} == {}
    assert doubled == []


async def keep_calling(
    deployment: Deployed,
    rate: float,
    model_seconds: float,
    handshakes: list[Handshake],
    group: asyncio.TaskGroup,
) -> None:
    """Start calls at a steady rate until cancelled, whether or not the earlier ones have ended."""
    clock, callers = asyncio.get_running_loop().time, deployment.callers
    began = clock()
    for number in itertools.count():
        await asyncio.sleep(began + number / rate - clock())  # the rate itself
        start = callers.engine if number % 2 else callers.worker
        group.create_task(shake_hands(start, model_seconds, handshakes))


async def shake_hands(start: Start, model_seconds: float, handshakes: list[Handshake]) -> None:
    """One call, from its start to its answer."""
    clock = asyncio.get_running_loop().time
    began = clock()
    handshake = Handshake(await start(delay=model_seconds))
    handshakes.append(handshake)
    with contextlib.suppress(TimeoutError):
        answered = await handshake.call.answer(WITHIN)
        if answered == handshake.call.right_answer:
            handshake.seconds = clock() - began
        handshake.instead = answered


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
