"""Processes of benchmarks: run, and measured by their CPU time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from stigma_cli.child_process import bound_to_parent


class CpuMeter:
    """Reads the CPU seconds of named groups of processes, children included, ended ones too."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups
        self._before: dict[str, float] = {}

    def start(self) -> None:
        """Measure from now on."""
        self._before = self.read()

    def stop(self) -> dict[str, float]:
        """Return CPU seconds by group since `start`."""
        return {name: now - self._before[name] for name, now in self.read().items()}

    def read(self) -> dict[str, float]:
        """Return CPU seconds by group since each process began."""
        return {name: sum(map(_seconds, pids)) for name, pids in self._groups.items()}


def _seconds(pid: int) -> float:
    parent = psutil.Process(pid)
    times = [one.cpu_times() for one in (parent, *parent.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


@asynccontextmanager
async def running(command: Sequence[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process that ends with this one; both its streams go into a file."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *bound_to_parent(command), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()
