"""`python -m tools.shards [--bare] [--skipped] [PYTEST_OPTION...]`: all tests, side by side.

``--bare`` runs them as on a machine without Docker, Helm, PostgreSQL and the like. ``--skipped``
runs what the last run skipped. Both: what a shard skipped there follows it, with everything that is
installed; where that is being made, ``--prepared`` says in which directory a file tells that it is.
Results are in .cache/test-results, a folder a shard.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.shards import report
from tools.shards.bare import bare_environment
from tools.shards.jobs import RESULTS, Job, JobQueue, job_of_skipped
from tools.shards.plan import SHARDS
from tools.shards.run import Outcome, lanes, run_jobs


def main(arguments: Sequence[str]) -> int:
    """Run the tests and print what they found; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.shards", description=__doc__)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--skipped", action="store_true")
    parser.add_argument("--prepared", type=Path)
    parser.add_argument("--shard", action="append", choices=[one.name for one in SHARDS])
    asked, options = parser.parse_known_args(arguments)
    shards = [Job(one) for one in SHARDS if not asked.shard or one.name in asked.shard]
    environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_FILE"}
    RESULTS.mkdir(parents=True, exist_ok=True)
    bare = bare_environment(environment, RESULTS / "bare-path") if asked.bare else environment
    if asked.skipped and not asked.bare:
        queue = JobQueue(filter(None, map(job_of_skipped, shards)))
    elif asked.skipped:
        queue = JobQueue(shards, next_job=job_of_skipped, prepared=asked.prepared)
    else:
        queue = JobQueue(shards)

    def environment_of(job: Job) -> Mapping[str, str]:
        return environment if job.tests else bare

    outcomes = asyncio.run(run_jobs(queue, options, environment_of, lanes()))
    # What was skipped before is joined with what ran then.
    jobs = dict.fromkeys([*shards, *(one.job for one in outcomes)])
    directories = [job.directory for job in sorted(jobs, key=lambda job: bool(job.tests))]
    return _conclude(directories, outcomes, chosen=bool(asked.shard or options))


def _conclude(directories: Sequence[Path], outcomes: Sequence[Outcome], *, chosen: bool) -> int:
    tests = report.read_tests(directories)
    report.print_failures(outcomes)
    report.print_tables(directories)
    report.print_seconds(tests, outcomes)
    files = [file for directory in directories for file in directory.glob("coverage")]
    covered = chosen or report.is_covered(files)
    report.print_cut_logs(outcomes)
    report.print_failed_tests(tests)
    failed = [one.job.name for one in outcomes if not one.passed]
    if failed:
        print(f"\ntests: failed in {', '.join(failed)}; all is in {RESULTS}")
    counts = Counter(test.outcome for test in tests)
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"\ntests: {counts['passed']} passed, {counts['failed']} failed{skipped}")
    return 0 if covered and not failed and counts["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
