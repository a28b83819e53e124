"""Seconds that a fresh machine takes to its first answer, for the table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

from tests.stack.tables import ResultTable


@dataclass(frozen=True)
class FreshMachine:
    """A container of an image, with wheels."""

    image: str
    install_seconds: float
    demo_seconds: float
    busy: float
    """Number of processes that wanted each core before it began; 1 where none had to wait."""

    @property
    def seconds(self) -> float:
        """From nothing to the answer."""
        return self.install_seconds + self.demo_seconds


class FreshMachines(ResultTable):
    """Rows of all that was measured in this process."""

    name = "fresh machine"
    title = "fresh machine: seconds from nothing to the answer of `stigma demo --kill`"

    def rows(self) -> list[Any]:
        """Return a row each."""
        return [[*astuple(each)] for each in FRESH_MACHINES]

    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield a line each."""
        for image, install, demo, busy in rows:
            parts = f"{install} to install, {demo} the demo; load {busy:.1f} a core"
            yield f"{image}: {install + demo:.1f} ({parts})"


FRESH_MACHINES: list[FreshMachine] = []
