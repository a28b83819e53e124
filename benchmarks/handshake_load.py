"""Blocks of calls: a closed loop of callers, each waiting for its workflow's result."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

from benchmarks.handshake_modes import Mode
from benchmarks.handshake_native import ANSWER
from benchmarks.handshake_site import Site


@dataclass(frozen=True)
class Block:
    """One block: seconds of each call, of the whole, and CPU seconds by group of processes."""

    mode: Mode
    callers: int
    latencies: list[float]
    seconds: float
    cpu: dict[str, float]


async def run_block(site: Site, mode: Mode, callers: int, calls: int) -> Block:
    """Run so many calls with so many callers at a time."""
    latencies: list[float] = []
    open_calls = iter(range(max(calls, callers)))
    site.cpu.start()
    began = time.perf_counter()

    async def call_in_turn() -> None:
        while next(open_calls, None) is not None:
            latencies.append(await _call(site, mode))

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call_in_turn())
    seconds = time.perf_counter() - began
    return Block(mode, callers, latencies, seconds, site.cpu.stop())


async def _call(site: Site, mode: Mode) -> float:
    message = uuid.uuid4().hex
    began = time.perf_counter()
    result = await site.client.execute_workflow(
        mode.run,
        message,
        id=f"{mode.__name__}-{message}",
        task_queue=site.task_queue,
    )
    seconds = time.perf_counter() - began
    if result != f"{ANSWER} {message}":
        raise AssertionError(f"{mode.__name__} answered something else")
    return seconds
