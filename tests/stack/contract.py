"""The failure contract's table: each row, and how the tests that prove it went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator

import pytest

_WORST_FIRST = ("failed", "skipped", "passed")


class ContractTable:
    """Collects the results of tests marked `contract(row)` and prints a line a row."""

    def __init__(self) -> None:
        self._results: defaultdict[str, list[str]] = defaultdict(list)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("contract"):
                if len(mark.args) != 1:
                    raise pytest.UsageError(f"{item.nodeid}: contract takes one row")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call" or report.outcome != "passed":
            for mark in item.iter_markers("contract"):
                self._results[mark.args[0]].append(report.outcome)
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._results:
            return
        terminalreporter.section("failure contract")
        for row, outcomes in self._results.items():
            worst = min(outcomes, key=_WORST_FIRST.index)
            count = f"{len(outcomes)} tests" if len(outcomes) > 1 else "1 test"
            colour = {"passed": "green", "failed": "red"}.get(worst, "yellow")
            terminalreporter.line(f"{worst:8} {row} ({count})", **{colour: True})
