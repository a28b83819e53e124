"""The failure contract's table: each row, and how the tests that prove it went."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.stack.contract_marks import marks_of
from tests.stack.contract_rows import ROWS, ContractRow, kinds_of

_WORST_FIRST = ("failed", "skipped", "passed")
_COLOURS = {"passed": "green", "failed": "red"}


class ContractTable:
    """Collects the results of tests marked `contract(row, *kinds)` and prints a line a row.

    A row is "missing" when no collected test is about it, "not run" when those were deselected.
    """

    def __init__(self) -> None:
        self._tests: Counter[str] = Counter()
        self._results: defaultdict[str, list[str]] = defaultdict(list)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("contract"):
                if complaint := _complaint(item, mark):
                    raise pytest.UsageError(f"{item.nodeid}: {complaint}")
                self._tests[mark.args[0]] += 1

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
        for row in ROWS:
            outcome = self._outcome(row)
            colour = {_COLOURS.get(outcome, "yellow"): True}
            terminalreporter.line(f"{outcome:8} {row.text}{self._remark(row)}", **colour)

    def _outcome(self, row: ContractRow) -> str:
        outcomes = self._results.get(row.text)
        if outcomes:
            return min(outcomes, key=_WORST_FIRST.index)
        return "not run" if self._tests[row.text] else "missing"

    def _remark(self, row: ContractRow) -> str:
        count = len(self._results.get(row.text, ()))
        remarks = [f"{count} test{'s' if count > 1 else ''}"] if count else []
        remarks += ["containers"] if row.containers else []
        return f" ({', '.join(remarks)})" if remarks else ""


def _complaint(item: pytest.Item, mark: pytest.Mark) -> str:
    """Say what is wrong with a mark; empty when nothing is."""
    if not mark.args or not isinstance(item, pytest.Function):
        return "contract takes a row, and kinds of executions, and marks a function"
    row, *kinds = mark.args
    if row not in {known.text for known in ROWS}:
        return f"the contract has no row {row!r}; see tests/stack/contract_rows.py"
    try:
        meant = kinds_of(tuple(kinds))
    except ValueError as error:
        return str(error)
    # Where it is defined: tests may be imported, to be run again elsewhere.
    code = inspect.unwrap(item.function).__code__
    read = marks_of(Path(code.co_filename))
    if (code.co_name, row, meant) not in {(one.function, one.row, one.kinds) for one in read}:
        return "the documents are written from what is above a test: write the mark there"
    return ""
