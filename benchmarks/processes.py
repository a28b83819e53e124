"""CPU time of groups of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil


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
