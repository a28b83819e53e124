"""Skipped tests: failures where everything is installed (STIGMA_NO_SKIP=1), else kept in a file."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.stack.tables import DIRECTORY

NO_SKIP = "STIGMA_NO_SKIP"
"""Variable: 1 where everything is installed."""
_FILE = "skipped.txt"

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


class NoSkips:
    """Turns skips into failures, of tests and of whole modules. Expected failures stay."""

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        return _refused((yield))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        return _refused((yield))


class SkippedTests:
    """Writes the ids of skipped tests and modules where the run has a directory for its tables."""

    def __init__(self) -> None:
        self._ids: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a test."""
        self._add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take in a module."""
        self._add(report)

    def pytest_sessionfinish(self) -> None:
        """Write them, one a line."""
        if directory := os.environ.get(DIRECTORY):
            Path(directory, _FILE).write_text("\n".join(self._ids), encoding="utf-8")

    def _add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._ids.append(report.nodeid)


def skipped_tests(directory: Path) -> list[str]:
    """Return the ids that a run wrote into a directory."""
    file = directory / _FILE
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def skips_are_failures() -> bool:
    """Whether this run was told to have everything it needs."""
    return os.environ.get(NO_SKIP) == "1"


def _refused(report: R) -> R:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (STIGMA_NO_SKIP=1: a skip is a failure)"
    return report
