"""Steady load: no service grows with the number of calls it has served.

`make soak` runs it for STIGMA_SOAK_SECONDS, by default two hours, at a steady rate; `make test` for
STIGMA_SHORT_SOAK_SECONDS, by default less than a minute, as fast as it goes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import statistics
import sys
from dataclasses import dataclass

import psutil
import pytest

from tests.reliability.fault_site import CALLER, FaultSite
from tests.stack.stack import SERVICES
from tests.stack.waiting import eventually

SOAK_SECONDS = float(os.environ.get("STIGMA_SOAK_SECONDS", "7200"))
SHORT_SECONDS = float(os.environ.get("STIGMA_SHORT_SOAK_SECONDS", "45"))
AT_A_TIME = 4
# The development server keeps all in memory: hours at full speed would be a test of that.
CALLS_PER_SECOND = 2.0
MEASURED = (*SERVICES, CALLER)

# Caches fill and pools open in the first part; what grows in the rest grows with the calls. Memory
# also comes and goes by 10 MiB, as the garbage collector and the allocator see fit.
WARM_UP = 0.4
SAMPLES = 40
MIB = 1024 * 1024
MOST_GROWTH_BYTES = 16 * MIB
MOST_GROWTH_RATIO = 0.05
# Connections and poll loops come and go; with a leak per call there would be hundreds.
MORE_WHEN_IDLE = 8


@dataclass(frozen=True)
class Usage:
    """What a process has: bytes of memory, open files and sockets, threads, asyncio tasks."""

    memory: int
    descriptors: int
    threads: int
    tasks: int


@pytest.mark.soak
async def test_soak(site: FaultSite) -> None:
    await soak(site, SOAK_SECONDS, pause=AT_A_TIME / CALLS_PER_SECOND)


@pytest.mark.timeout(SHORT_SECONDS + 180)
async def test_a_short_soak(site: FaultSite) -> None:
    await soak(site, SHORT_SECONDS)


async def soak(site: FaultSite, seconds: float, pause: float = 0) -> None:
    for start in (site.callers.worker, site.callers.engine):
        await (await start()).check()
    idle = await usage(site)
    calls, samples = await under_load(site, seconds, pause)
    assert calls > seconds, f"{calls} calls in {seconds:g} s are no load"
    sys.stdout.write(f"{calls} calls in {seconds:g} s\n")
    for service in MEASURED:
        before, after = growth([one[service].memory for one in samples])
        last = samples[-1][service]
        sys.stdout.write(
            f"{service}: {before / MIB:.1f} to {after / MIB:.1f} MiB; at the end"
            f" {last.descriptors} descriptors, {last.threads} threads, {last.tasks} tasks\n"
        )
        limit = before + max(MOST_GROWTH_BYTES, before * MOST_GROWTH_RATIO)
        assert after <= limit, f"{service} grew from {before} to {after} bytes in {calls} calls"
    await check_idle(site, idle)


async def under_load(
    site: FaultSite, seconds: float, pause: float
) -> tuple[int, list[dict[str, Usage]]]:
    """The number of calls that ended, and what each service had at regular times meanwhile.

    Each of those who ask begins ``pause`` seconds after its last call, or when that has ended.
    """
    end = asyncio.get_running_loop().time() + seconds
    ended, samples = itertools.count(), list[dict[str, Usage]]()

    async def keep_asking() -> None:
        for number in itertools.count():
            begun = asyncio.get_running_loop().time()
            if begun >= end:
                return
            if number % 10 == 9:
                call = await site.callers.worker(failure="FAILURE_REASON_INVALID_REQUEST")
                assert (await call.result())["reason"] == "INVALID_REQUEST"
            else:
                call = await (site.callers.engine if number % 2 else site.callers.worker)()
                await call.check()
            next(ended)
            await asyncio.sleep(begun + pause - asyncio.get_running_loop().time())

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(keep_asking())
        for _ in range(SAMPLES):
            await asyncio.sleep(seconds / SAMPLES)
            samples.append(await usage(site))
    return next(ended), samples


def growth(values: list[int]) -> tuple[float, float]:
    """The usual value right after the warm-up, and the one at the end."""
    begin, part = int(len(values) * WARM_UP), len(values) // 5
    return statistics.median(values[begin : begin + part]), statistics.median(values[-part:])


async def check_idle(site: FaultSite, before: dict[str, Usage]) -> None:
    """What was opened or begun for a call was closed or ended with it."""
    after = before

    async def settled() -> bool:
        nonlocal after
        after = await usage(site)
        return all(
            getattr(after[service], what) <= getattr(before[service], what) + MORE_WHEN_IDLE
            for service in MEASURED
            for what in ("descriptors", "threads", "tasks")
        )

    await eventually(settled, what=lambda: f"as idle as before: {before}, now {after}")


async def usage(site: FaultSite) -> dict[str, Usage]:
    return {service: await usage_of(site, service) for service in MEASURED}


async def usage_of(site: FaultSite, service: str) -> Usage:
    process = site.stack.process(service)
    status, metrics = await process.admin("/metrics")
    assert status == 200
    tasks = re.search(r"^stigma_asyncio_tasks (\S+)$", metrics, re.MULTILINE)
    assert tasks is not None, f"{service} does not count its tasks"
    system = psutil.Process(process.pid)
    with system.oneshot():
        return Usage(
            system.memory_info().rss,
            system.num_fds(),
            system.num_threads(),
            int(float(tasks[1])),
        )
