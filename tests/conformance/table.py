"""The count of scenarios and examples that passed: the last line of a run of them alone."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from typing_extensions import override

from tests.conformance.specification import EXAMPLES, SCENARIOS
from tests.stack.tables import DIRECTORY, ResultTable

_COUNTED = re.compile(r"tests/conformance/test_(kit|examples)\.py::test_(?!own_)(?!refused)")


class ConformanceTable(ResultTable):
    """A row for each scenario and example that passed: `kit` or `examples`."""

    name = "conformance"
    title = "conformance of the workflow language"

    def __init__(self) -> None:
        self._passed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a test."""
        found = _COUNTED.match(report.nodeid)
        if found and report.when == "call" and report.passed:
            self._passed.append(found[1])

    def pytest_unconfigure(self) -> None:
        """Write the count last of all, unless it goes into a file."""
        if self._passed and DIRECTORY not in os.environ:
            sys.stdout.write("".join(f"{line}\n" for line in self.lines(self._passed)))

    @override
    def rows(self) -> list[Any]:
        return list(self._passed)

    @override
    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        passed = list(rows)
        kit, examples = passed.count("kit"), passed.count("examples")
        yield f"CTK {kit}/{SCENARIOS}, examples {examples}/{EXAMPLES}"
