"""What it costs to wait: many callers pending at once, and the worker slots they occupy."""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass

import psutil

from benchmarks.handshake_modes import PatientCaller
from benchmarks.handshake_site import SERVICES, Site

_STARTING_AT_A_TIME = 32
_OBSERVED_SECONDS = 60.0
_IDLE_SECONDS = 60.0
_WARM_UP_SECONDS = 20.0
"""Time that processes need to import and connect, before they are idle."""
_SETTLING_SECONDS = 90.0
_SLOTS = re.compile(
    r"^temporal_worker_task_slots_used\{(?=[^}]*ActivityWorker)[^}]*\} (\S+)$", re.MULTILINE
)

_KEPT_WATCHES = re.compile(r"^\w*caller_watches_kept(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Holding:
    """So many callers wait; what that occupies and costs."""

    waits: int
    slots_held: int
    cpu_seconds: dict[str, float]
    observed_seconds: float
    services_mib: float
    idle_cpu_seconds: dict[str, float]
    """In as much time while nobody waited."""

    def describe(self) -> str:
        """Return three lines for people."""
        per_hour = 3600 / self.observed_seconds * 1000
        idle = self.idle_cpu_seconds
        cpu = {name: used - idle[name] for name, used in self.cpu_seconds.items()}
        one = ", ".join(f"{name} {used * per_hour / self.waits:.1f}" for name, used in cpu.items())
        none = ", ".join(
            f"{name} {used / self.observed_seconds:.4f}" for name, used in idle.items()
        )
        return (
            f"{self.waits} waits held: {self.slots_held} activity slots of the caller occupied, "
            f"services use {self.services_mib:.0f} MiB\n"
            f"CPU to hold one wait for an hour, ms: {one} (over {self.observed_seconds:.0f} s)\n"
            f"cores while nobody waits: {none}"
        )


async def measure_holding(site: Site, waits: int, seconds: float = _OBSERVED_SECONDS) -> Holding:
    """Let so many workflows wait for agents that take an hour, and observe them for a while.

    First the CPU of a minute in which nobody waits is measured.
    """
    await asyncio.sleep(_WARM_UP_SECONDS)
    idle = await _measure_cpu(site, _IDLE_SECONDS)
    starting = asyncio.Semaphore(_STARTING_AT_A_TIME)

    async def start() -> None:
        async with starting:
            await site.client.start_workflow(
                PatientCaller.run,
                "",
                id=f"patient-{uuid.uuid4().hex}",
                task_queue=site.task_queue,
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(waits):
            group.create_task(start())
    await _until_all_wait(site, waits)
    cpu = await _measure_cpu(site, seconds)
    memory = sum(
        psutil.Process(site.stack.process(name).pid).memory_info().rss for name in SERVICES
    )
    idle = {name: used * seconds / _IDLE_SECONDS for name, used in idle.items()}
    return Holding(waits, _slots(site), cpu, seconds, memory / 2**20, idle)


async def _measure_cpu(site: Site, seconds: float) -> dict[str, float]:
    """Return the CPU seconds that each group of processes uses within so many seconds."""
    site.cpu.start()
    await asyncio.sleep(seconds)
    return site.cpu.stop()


async def _until_all_wait(site: Site, waits: int) -> None:
    """Wait until each caller is watched: what a start and a first look cost is no cost of waiting.

    A release that keeps no watches is given the time that its first looks take.
    """
    query = "WorkflowType='AgentWorkflow' AND ExecutionStatus='Running'"
    async with asyncio.timeout(1200):
        while (await site.client.count_workflows(query)).count < waits:  # noqa: ASYNC110
            await asyncio.sleep(1)
    with suppress(TimeoutError):
        async with asyncio.timeout(_SETTLING_SECONDS):
            while await _kept_watches(site) < waits:  # noqa: ASYNC110 - a metric tells nobody
                await asyncio.sleep(1)


async def _kept_watches(site: Site) -> int:
    _, metrics = await site.stack.process("stigma_orchestrator").admin("/metrics")
    found = _KEPT_WATCHES.search(metrics)
    return int(float(found[1])) if found else 0


def _slots(site: Site) -> int:
    return int(sum(float(used) for used in _SLOTS.findall(site.caller_metrics())))
