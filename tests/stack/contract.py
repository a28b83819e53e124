"""The failure contract's table: each row, and the outcome of the tests that prove it."""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.contract_marks import marks_of
from tests.stack.contract_rows import ROWS, ContractRow, kinds_of
from tests.stack.tables import ResultTable

_WORST_FIRST = ("failed", "skipped", "passed")


class ContractTable(ResultTable):
    """Collects the results of tests marked `contract(row, *kinds)`: a line a row.

    A row is "missing" when no collected test is about it, "not run" when those were deselected.
    """

    name = "contract"
    title = "failure contract"

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

    def rows(self) -> list[Any]:
        """Return ``[row, tests collected, outcomes]`` of each row, once a marked test ran."""
        if not self._results:
            return []
        return [[text, count, self._results.get(text, [])] for text, count in self._tests.items()]

    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield a line a row of the contract, in its order."""
        collected: Counter[str] = Counter()
        outcomes: defaultdict[str, list[str]] = defaultdict(list)
        for text, count, results in rows:
            collected[text] += count
            outcomes[text] += results
        for row in ROWS:
            outcome = _outcome(outcomes[row.text], collected[row.text])
            yield f"{outcome:8} {row.text}{_remark(row, len(outcomes[row.text]))}"


def _outcome(outcomes: list[str], collected: int) -> str:
    if outcomes:
        return min(outcomes, key=_WORST_FIRST.index)
    return "not run" if collected else "missing"


def _remark(row: ContractRow, count: int) -> str:
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
