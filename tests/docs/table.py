"""What became of every command of the documents, printed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.docs.commands import commands_of
from tests.docs.pages import ROOT, Block, Page


@dataclass
class PageResult:
    """One page's commands."""

    found: int = 0
    ran: int = 0
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    """Place, commands and reason of each block that is not run."""


class CommandsTable:
    """Collects a line a page, and one a block that is not run."""

    def __init__(self) -> None:
        self._pages: dict[str, PageResult] = {}

    def found(self, page: Page) -> None:
        """Note a page's blocks of commands, and which of them are not run."""
        if page.name in self._pages:
            return
        result = self._pages[page.name] = PageResult()
        for block in page.blocks:
            if block.is_commands:
                count = len(commands_of(block))
                result.found += count
                if block.not_run:
                    result.skipped.append((block.place, count, block.not_run))

    def ran(self, block: Block) -> None:
        """Note that a block did what its page says."""
        if block.is_commands:
            page = block.page.relative_to(ROOT).as_posix()
            self._pages[page].ran += len(commands_of(block))

    def lines(self) -> Iterator[str]:
        """The table, for people."""
        yield f"{'found':>6}{'run':>6}{'not':>6}  page"
        for name, page in sorted(self._pages.items()):
            if page.found:
                yield _line(page.found, page.ran, name)
            for place, count, reason in page.skipped:
                yield f"{'':>12}{count:>6}    {place}: {reason}"
        found = sum(page.found for page in self._pages.values())
        yield _line(found, sum(page.ran for page in self._pages.values()), "together")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table."""
        terminalreporter.section("commands of the documents")
        for line in self.lines():
            terminalreporter.line(line)


def _line(found: int, ran: int, name: str) -> str:
    return f"{found:>6}{ran:>6}{found - ran:>6}  {name}"
