"""The table of images: checks and figures, printed at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.stack.tables import ResultTable

_ROW = "{:22} {:>14} {:>15} {:>16}   {}"
_HEAD = ("image", "own layers MB", "ready after s", "SIGTERM to end s", "checks")
_FIGURES = ("own_mb", "ready_s", "end_s")


class ImageTable(ResultTable):
    """Collects the checks of each image and their figures, which tests record as properties."""

    name = "images"
    title = "images"

    def __init__(self) -> None:
        self._rows: list[Any] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a test that names its image."""
        properties = dict(report.user_properties)
        if "image" in properties and report.when == "call" and not report.skipped:
            figures = {name: properties[name] for name in _FIGURES if name in properties}
            self._rows.append([properties["image"], report.passed, figures])

    def rows(self) -> list[Any]:
        """Return ``[image, passed, figures]`` of each check."""
        return self._rows

    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield a line an image."""
        checks: defaultdict[str, list[bool]] = defaultdict(list)
        figures: defaultdict[str, dict[str, object]] = defaultdict(dict)
        for image, passed, found in rows:
            checks[image].append(passed)
            figures[image] |= found
        yield _ROW.format(*_HEAD)
        for image, outcomes in checks.items():
            shown = [str(figures[image].get(name, "-")) for name in _FIGURES]
            failed = outcomes.count(False)
            of_all = f"{failed} of {len(outcomes)} failed"
            yield _ROW.format(image, *shown, of_all if failed else f"{len(outcomes)} passed")
