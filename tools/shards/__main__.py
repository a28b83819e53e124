"""`python -m tools.shards [--bare] [--skipped] [PYTEST_OPTION...]`: all tests, side by side.

``--bare`` runs them as on a machine without Docker, Helm, PostgreSQL and the like. ``--skipped``
runs what the last run skipped. Results are in .cache/test-results, a folder a shard.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.stack.skips import skipped_tests
from tools.shards import report
from tools.shards.bare import bare_environment
from tools.shards.plan import SHARDS
from tools.shards.run import RESULTS, Job, Outcome, lanes, run_jobs


def main(arguments: Sequence[str]) -> int:
    """Run the tests and print what they found; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.shards", description=__doc__)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--skipped", action="store_true")
    parser.add_argument("--shard", action="append", choices=[one.name for one in SHARDS])
    asked, options = parser.parse_known_args(arguments)
    before = [Job(one) for one in SHARDS if not asked.shard or one.name in asked.shard]
    jobs = _skipped(before) if asked.skipped else before
    environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_FILE"}
    RESULTS.mkdir(parents=True, exist_ok=True)
    if asked.bare:
        environment = bare_environment(environment, RESULTS / "bare-path")
    outcomes = asyncio.run(run_jobs(jobs, options, environment, lanes()))
    # What was skipped before is joined with what ran then.
    directories = [job.directory for job in dict.fromkeys([*before, *jobs])]
    return _conclude(directories, outcomes, chosen=bool(asked.shard or options))


def _conclude(directories: Sequence[Path], outcomes: Sequence[Outcome], *, chosen: bool) -> int:
    tests = report.read_tests(directories)
    report.print_failures(outcomes)
    report.print_tables(directories)
    report.print_seconds(tests, outcomes)
    files = [file for directory in directories for file in directory.glob("coverage")]
    covered = chosen or report.is_covered(files)
    report.print_failed_tests(tests)
    failed = [one.job.name for one in outcomes if not one.passed]
    if failed:
        print(f"\ntests: failed in {', '.join(failed)}; all is in {RESULTS}")
    counts = Counter(test.outcome for test in tests)
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"\ntests: {counts['passed']} passed, {counts['failed']} failed{skipped}")
    return 0 if covered and not failed and counts["passed"] else 1


def _skipped(before: Iterable[Job]) -> list[Job]:
    jobs = (Job(one.shard, tuple(skipped_tests(one.directory))) for one in before)
    return [job for job in jobs if job.tests]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
