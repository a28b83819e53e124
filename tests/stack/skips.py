"""Where everything is installed a skipped test is a failed one: STIGMA_NO_SKIP=1."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

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


def skips_are_failures() -> bool:
    """Whether this run was told to have everything it needs."""
    return os.environ.get("STIGMA_NO_SKIP") == "1"


def _refused(report: R) -> R:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (STIGMA_NO_SKIP=1: a skip is a failure)"
    return report
