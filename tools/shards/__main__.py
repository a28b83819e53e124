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

from tests.stack.skips import skipped_tests
from tools.shards import report
from tools.shards.bare import bare_environment
from tools.shards.plan import SHARDS, Shard
from tools.shards.run import RESULTS, Job, Outcome, lanes, run_jobs


def main(arguments: Sequence[str]) -> int:
    """Run the tests and print what they found; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.shards", description=__doc__)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--skipped", action="store_true")
    parser.add_argument("--shard", action="append", choices=[one.name for one in SHARDS])
    asked, options = parser.parse_known_args(arguments)
    chosen = [one for one in SHARDS if not asked.shard or one.name in asked.shard]
    jobs = _skipped(chosen) if asked.skipped else [Job(one) for one in chosen]
    environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_FILE"}
    if asked.bare:
        environment = bare_environment(environment, RESULTS / "bare-path")
    outcomes = asyncio.run(run_jobs(jobs, options, environment, lanes()))
    return _conclude(jobs, outcomes, all_ran=not (asked.skipped or asked.shard or options))


def _conclude(jobs: Sequence[Job], outcomes: Sequence[Outcome], *, all_ran: bool) -> int:
    directories = [job.directory for job in jobs]
    tests = report.read_tests(directories)
    report.print_failures(outcomes)
    report.print_tables(directories)
    report.print_seconds(tests, outcomes)
    files = [file for directory in directories for file in directory.glob("coverage")]
    covered = not all_ran or report.is_covered(files)
    failed = [one.job.shard.name for one in outcomes if not one.passed]
    if failed:
        print(f"\ntests: failed in {', '.join(failed)}; all is in {RESULTS}")
    counts = Counter(test.outcome for test in tests)
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"\ntests: {counts['passed']} passed, {counts['failed']} failed{skipped}")
    return 0 if covered and not failed and counts["passed"] else 1


def _skipped(shards: Iterable[Shard]) -> list[Job]:
    jobs = (Job(one, tuple(skipped_tests(RESULTS / one.name))) for one in shards)
    return [job for job in jobs if job.tests]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
