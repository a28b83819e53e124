"""Tables that a test run prints at its end, or leaves in files for a run of several processes."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

DIRECTORY = "STIGMA_TEST_TABLES"
"""Variable: where tables are written, a file each, instead of being printed."""


class ResultTable(ABC):
    """Rows that tests add, and the lines that people read.

    Rows are JSON values. Those of several processes are joined before they become lines.
    """

    name: ClassVar[str]
    """Of its file."""
    title: ClassVar[str]

    @abstractmethod
    def rows(self) -> list[Any]:
        """Return this process's rows; none when no test was about the table."""

    @classmethod
    @abstractmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield the table's lines."""


class ResultTables:
    """The tables of a process."""

    def __init__(self) -> None:
        self._tables: list[ResultTable] = []

    def add(self, table: ResultTable) -> None:
        """Have a table printed or written."""
        self._tables.append(table)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables, or write them where the run has a directory for them."""
        directory = os.environ.get(DIRECTORY)
        for table in self._tables:
            rows = table.rows()
            if directory:
                Path(directory, f"{table.name}.json").write_text(json.dumps(rows), encoding="utf-8")
            elif rows:
                terminalreporter.section(table.title)
                for line in table.lines(rows):
                    terminalreporter.line(line)


_TABLES: pytest.StashKey[ResultTables] = pytest.StashKey()


def add_table(config: pytest.Config, table: ResultTable) -> None:
    """Add a table to a run."""
    if _TABLES not in config.stash:
        config.stash[_TABLES] = ResultTables()
        config.pluginmanager.register(config.stash[_TABLES], "stigma-result-tables")
    config.stash[_TABLES].add(table)


def joined_rows(table: type[ResultTable], directories: Iterable[Path]) -> list[Any]:
    """Return the rows that processes wrote into their directories."""
    files = [directory / f"{table.name}.json" for directory in directories]
    return [row for file in files if file.exists() for row in json.loads(file.read_text())]
