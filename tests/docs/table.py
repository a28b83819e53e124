"""What became of every command of the documents, printed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.docs.commands import commands_of
from tests.docs.pages import ROOT, Block, Page
from tests.stack.tables import ResultTable


@dataclass
class PageResult:
    """One page's commands."""

    found: int = 0
    ran: int = 0
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    """Place, commands and reason of each block that is not run."""


class CommandsTable(ResultTable):
    """Collects a line a page, and one a block that is not run."""

    name = "commands"
    title = "commands of the documents"

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

    def rows(self) -> list[Any]:
        """Return ``[page, result]`` of each page."""
        return [[name, asdict(page)] for name, page in sorted(self._pages.items())]

    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield a line a page, one a block that is not run, and the sums."""
        pages = {name: PageResult(**result) for name, result in rows}
        yield f"{'found':>6}{'run':>6}{'not':>6}  page"
        for name, page in pages.items():
            if page.found:
                yield _line(page.found, page.ran, name)
            for place, count, reason in page.skipped:
                yield f"{'':>12}{count:>6}    {place}: {reason}"
        found = sum(page.found for page in pages.values())
        yield _line(found, sum(page.ran for page in pages.values()), "together")


def _line(found: int, ran: int, name: str) -> str:
    return f"{found:>6}{ran:>6}{found - ran:>6}  {name}"
