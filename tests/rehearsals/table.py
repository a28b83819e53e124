"""What was rehearsed, printed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Row:
    """One fault, and one page that was followed to its cure. Seconds from the first command on."""

    page: str
    fault: str
    blocks: list[str] = field(default_factory=list)
    seconds: float | None = None


class RehearsalTable:
    """Collects a row a rehearsal."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, page: str, fault: str) -> Row:
        """Begin a row."""
        self._rows.append(Row(page, fault))
        return self._rows[-1]

    def lines(self) -> Iterator[str]:
        """The table, for people."""
        pages = max((len(row.page) for row in self._rows), default=0)
        faults = max((len(row.fault) for row in self._rows), default=0)
        yield f"{'page':<{pages}}  {'fault made':<{faults}}  cured after  blocks followed"
        for row in self._rows:
            cured = "not cured" if row.seconds is None else f"{row.seconds:.1f} s"
            followed = ", ".join(dict.fromkeys(row.blocks))
            yield f"{row.page:<{pages}}  {row.fault:<{faults}}  {cured:>11}  {followed}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        terminalreporter.section("runbooks rehearsed")
        for line in self.lines():
            terminalreporter.line(line)
