"""Runs shards as processes, some at a time."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stigma_cli.child_process import bound_to_parent
from stigma_cli.devserver import PORTS, PORTS_VARIABLE
from tests.stack.tables import DIRECTORY
from tools.shards.jobs import RESULTS, Job, JobQueue
from tools.shards.plan import ROOT

Environments = Callable[[Job], Mapping[str, str]]

_TIMES_SLOWER = 3
"""As long as planned, so many times, a shard may take: on a machine that is slow or busy."""
_LEAST_SECONDS, _MOST_SECONDS = 10 * 60, 40 * 60
_STACKS_SECONDS = 10.0
_NO_TESTS = 5
"""pytest's exit code where every test was deselected."""


@dataclass(frozen=True)
class Outcome:
    """The end of a shard: pytest's exit code, None when it took too long; seconds."""

    job: Job
    code: int | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no test failed."""
        return self.code in {0, _NO_TESTS}


async def run_jobs(
    queue: JobQueue, options: Sequence[str], environments: Environments, at_a_time: int
) -> list[Outcome]:
    """Run a queue's jobs, ``at_a_time`` side by side, and beside them one at a time that waits.

    Each lane has ports of its own.
    """
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="stigma-tests-", ignore_cleanup_errors=True) as folder:

        async def work(ports: str, *, that_waits: bool) -> None:
            while (job := await queue.take(that_waits=that_waits)) is not None:
                temporary = Path(folder, job.name)
                variables = {**environments(job), **_variables(job), PORTS_VARIABLE: ports}
                outcomes.append(await run_shard(job, _command(job, options, temporary), variables))
                queue.done(job)

        async with asyncio.TaskGroup() as lanes:
            for lane in range(at_a_time + 1):
                ports = _ports(lane, at_a_time + 1)
                lanes.create_task(work(ports, that_waits=lane == at_a_time))
    return outcomes


async def run_shard(job: Job, command: Sequence[str], environment: Mapping[str, str]) -> Outcome:
    """Run a shard's command, and end it where it hangs; its output is in the job's log."""
    shutil.rmtree(job.directory, ignore_errors=True)
    job.directory.mkdir(parents=True)
    _say(f"{job.name} …")
    began = time.monotonic()
    with (job.directory / "log.txt").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *bound_to_parent(command), stdout=log, stderr=log, env=environment, cwd=ROOT
        )
        try:
            async with asyncio.timeout(limit_seconds(job)):
                code: int | None = await process.wait()
        except TimeoutError:
            code = None
            await _print_stacks(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    outcome = Outcome(job, code, time.monotonic() - began)
    _say(f"{job.name}: {_closing_line(job)} ({outcome.seconds:.0f} s in all)")
    return outcome


def limit_seconds(job: Job) -> float:
    """Return the seconds after which a job is ended: something in it hangs."""
    return min(max(_LEAST_SECONDS, _TIMES_SLOWER * job.seconds), _MOST_SECONDS)


async def _print_stacks(process: asyncio.subprocess.Process) -> None:
    """Have a process that hangs print the stacks of its threads, as pytest's faulthandler does."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGABRT)
    with suppress(TimeoutError):
        async with asyncio.timeout(_STACKS_SECONDS):
            await process.wait()


def _command(job: Job, options: Sequence[str], temporary: Path) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-m", "not soak"]
    command += ["--cov", "--cov-report="] if job.shard.measured else []
    command += [f"--basetemp={temporary}", f"--junitxml={job.directory / 'junit.xml'}"]
    command += ["-o", "junit_family=xunit1", "--color=no", "--durations=20", *options]
    if job.tests:
        listed = RESULTS / f"{job.name}.txt"
        listed.write_text("\n".join(job.tests), encoding="utf-8")
        return [*command, f"@{listed}"]
    return [*command, *job.shard.folders]


def _variables(job: Job) -> dict[str, str]:
    return {DIRECTORY: str(job.directory), "COVERAGE_FILE": str(job.directory / "coverage")}


def _ports(lane: int, lanes: int) -> str:
    width = len(PORTS) // lanes
    return f"{PORTS.start + lane * width}-{PORTS.start + (lane + 1) * width - 1}"


def _closing_line(job: Job) -> str:
    lines = (job.directory / "log.txt").read_text(errors="replace").splitlines()
    return lines[-1].strip("= ") if lines else "no output"


def _say(text: str) -> None:
    sys.stdout.write(f"tests: {text}\n")
    sys.stdout.flush()


def lanes() -> int:
    """Return how many shards run at a time: STIGMA_TEST_LANES, else one a core.

    Each waits about half of its time, and its services use what is left: more only make all slower.
    """
    return int(os.environ.get("STIGMA_TEST_LANES") or os.cpu_count() or 1)
