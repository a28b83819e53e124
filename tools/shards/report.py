"""Failures, tables, seconds by folder and coverage of all shards."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.callers.programs import ProgramRuns
from tests.conformance.table import ConformanceTable
from tests.docs.table import CommandsTable
from tests.images.table import ImageTable
from tests.rehearsals.table import RehearsalTable
from tests.stack.contract import ContractTable
from tests.stack.tables import joined_rows
from tests.stack.tools_contract import ToolsContractTable
from tools.shards.plan import ROOT
from tools.shards.run import Outcome

_TABLES = (
    ConformanceTable,
    CommandsTable,
    ProgramRuns,
    RehearsalTable,
    ImageTable,
    ContractTable,
    ToolsContractTable,
)
_SLOWEST = 20
_MOST_FAILED = 40
_CUT_LINES = 100
_MOST_OF_MESSAGE = 300
_LEAST_COVERED_PERCENT = 90


@dataclass(frozen=True)
class Test:
    """One test, with the seconds of its set-up and its end."""

    folder: str
    module: str
    name: str
    seconds: float
    outcome: str
    """"passed", "failed" or "skipped"."""
    message: str = ""
    """Message of a failure, on one line."""


def print_failures(outcomes: Iterable[Outcome]) -> None:
    """Print pytest's own words about failures."""
    for outcome in outcomes:
        if not outcome.passed and (words := _words_of_failures(outcome)):
            _title(f"{outcome.job.name}: {_ending(outcome)}")
            print(words)


def print_cut_logs(outcomes: Iterable[Outcome]) -> None:
    """Print the ends of logs in which pytest does not come to its own words: it hung or crashed."""
    for outcome in outcomes:
        if not outcome.passed and not _words_of_failures(outcome):
            _title(f"{outcome.job.name}: {_ending(outcome)}")
            print("\n".join(_log(outcome).splitlines()[-_CUT_LINES:]))


def _words_of_failures(outcome: Outcome) -> str:
    text = _log(outcome)
    found = re.search(r"^=+ (ERRORS|FAILURES) =+$", text, re.MULTILINE)
    return text[found.start() :] if found else ""


def _log(outcome: Outcome) -> str:
    return (outcome.job.directory / "log.txt").read_text(errors="replace")


def print_failed_tests(tests: Iterable[Test]) -> None:
    """Print a line for each test that failed, last of all, where a cut log still has it."""
    failed = [test for test in tests if test.outcome == "failed"]
    if failed:
        _title("failed tests")
    for test in failed[:_MOST_FAILED]:
        print(f"{test.module}: {test.name}: {test.message[:_MOST_OF_MESSAGE]}")
    if len(failed) > _MOST_FAILED:
        print(f"and {len(failed) - _MOST_FAILED} more")


def print_tables(directories: Sequence[Path]) -> None:
    """Print the tables whose rows the shards wrote."""
    for table in _TABLES:
        if rows := joined_rows(table, directories):
            _title(table.title)
            print("\n".join(table.lines(rows)))


def print_seconds(tests: Sequence[Test], outcomes: Iterable[Outcome]) -> None:
    """Print the slowest tests, and seconds by folder and by shard."""
    _title("slowest tests")
    for test in sorted(tests, key=lambda test: -test.seconds)[:_SLOWEST]:
        print(f"{test.seconds:7.1f} s  {test.folder}: {test.name}")
    _title("seconds by folder")
    seconds: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for test in tests:
        seconds[test.folder] += test.seconds
        counts[test.folder] += 1
    for folder in sorted(seconds):
        print(f"{seconds[folder]:7.0f} s {counts[folder]:6} tests  {folder}")
    print(f"{sum(seconds.values()):7.0f} s {counts.total():6} tests  together")
    shards = [f"{one.job.name} {one.seconds:.0f} s" for one in outcomes]
    print(f"shards: {', '.join(shards)}")


def is_covered(files: Sequence[Path]) -> bool:
    """Join the shards' coverage, print it, and tell whether it suffices."""
    _title("coverage")
    for arguments in (
        ["combine", "--quiet", "--keep", *map(str, files)],
        ["report", f"--fail-under={_LEAST_COVERED_PERCENT}"],
    ):
        done = subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT, check=False)
        if done.returncode != 0:
            return False
    return True


def read_tests(directories: Iterable[Path]) -> list[Test]:
    """Return the tests of the shards' junit files; of one that ran twice, the later."""
    files = [directory / "junit.xml" for directory in directories]
    tests = [test for file in files if file.exists() for test in _tests(file)]
    return list({(test.folder, test.module, test.name): test for test in tests}.values())


def _tests(file: Path) -> Iterator[Test]:
    for case in ElementTree.parse(file).iter("testcase"):
        module = case.get("classname", "")
        folder = "/".join(part for part in module.split(".") if not part.startswith("test_"))
        children = {child.tag: child for child in case}
        failure = children.get("failure", children.get("error"))
        outcome = "passed" if failure is None else "failed"
        outcome = "skipped" if "skipped" in children else outcome
        message = "" if failure is None else " ".join(failure.get("message", "").split())
        seconds = float(case.get("time", 0))
        yield Test(folder, module, case.get("name", ""), seconds, outcome, message)


def _ending(outcome: Outcome) -> str:
    if outcome.code is None:
        return f"not done after {outcome.seconds:.0f} s"
    return f"failed (exit code {outcome.code})"


def _title(text: str) -> None:
    print(f"\n{f' {text} ':=^100}")
