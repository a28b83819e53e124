"""The table that is printed at the end: each test, its outcome, how long it took, its figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

_OUTCOMES = ("passed", "failed", "skipped", "error")


def table(stats: Mapping[str, Iterable[Any]]) -> list[str]:
    """Lines of the table, in the order in which the tests ran; none when no test ran."""
    reports = [
        (outcome, report)
        for outcome in _OUTCOMES
        for report in stats.get(outcome, ())
        if isinstance(report, pytest.TestReport) and "/cluster/" in report.nodeid
    ]
    if all(outcome == "skipped" for outcome, _ in reports):
        return []
    return [_line(outcome, report) for outcome, report in sorted(reports, key=_started)]


def _started(reported: tuple[str, pytest.TestReport]) -> float:
    return reported[1].start


def _line(outcome: str, report: pytest.TestReport) -> str:
    name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    figures = ", ".join(f"{what} {value}" for what, value in report.user_properties)
    if outcome == "skipped" and isinstance(report.longrepr, tuple):
        figures = report.longrepr[2]
    return f"{outcome:8}{report.duration:7.0f} s  {name:62}  {figures}".rstrip()
