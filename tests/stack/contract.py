"""The failure contract's table: each row, and the outcome of the tests that prove it."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.contract_marks import marks_of
from tests.stack.contract_rows import ROWS, kinds_of
from tests.stack.tables import ResultTable

_NOT_RUN = "not run"
_WORST_FIRST = ("failed", "skipped", "passed", _NOT_RUN)


class ContractTable(ResultTable):
    """Collects the results of tests marked `contract(row, *kinds)`: a line a row.

    A row is "missing" when no collected test is about it, "not run" when those were deselected.
    """

    name = "contract"
    title = "failure contract"
    marker = "contract"

    def __init__(self) -> None:
        self._tests: defaultdict[str, dict[str, str]] = defaultdict(dict)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers(self.marker):
                if complaint := self.complaint(item, mark):
                    raise pytest.UsageError(f"{item.nodeid}: {complaint}")
                self._tests[mark.args[0]][item.nodeid] = _NOT_RUN

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call" or report.outcome != "passed":
            for mark in item.iter_markers(self.marker):
                of_row = self._tests[mark.args[0]]
                of_row[item.nodeid] = min(
                    of_row[item.nodeid], report.outcome, key=_WORST_FIRST.index
                )
        return report

    def complaint(self, item: pytest.Item, mark: pytest.Mark) -> str:
        """Say what is wrong with a mark; empty when nothing is."""
        return _complaint(item, mark)

    @classmethod
    def known_rows(cls) -> list[tuple[str, str]]:
        """Return the rows in their order, each with a remark."""
        return [(row.text, "containers" if row.containers else "") for row in ROWS]

    def rows(self) -> list[Any]:
        """Return ``[row, outcome of each test]`` of the rows, once a marked test ran."""
        ran = any(
            outcome != _NOT_RUN for tests in self._tests.values() for outcome in tests.values()
        )
        return [[text, tests] for text, tests in self._tests.items()] if ran else []

    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield a line a row of the contract, in its order; of a test that ran twice, the later."""
        outcomes: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for text, tests in rows:
            outcomes[text] |= {test: one for test, one in tests.items() if one != _NOT_RUN}
            outcomes[text] = {**tests, **outcomes[text]}
        for text, remark in cls.known_rows():
            found = list(outcomes[text].values())
            outcome = min(found, key=_WORST_FIRST.index, default="missing")
            ran = len(found) - found.count(_NOT_RUN)
            count = f"{ran} test{'s' if ran > 1 else ''}" if ran else ""
            remarks = ", ".join(filter(None, (count, remark)))
            yield f"{outcome:8} {text}" + (f" ({remarks})" if remarks else "")


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
