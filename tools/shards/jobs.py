"""What waits to be run, the longest first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.stack.skips import skipped_tests
from tools.shards.plan import ROOT, Shard

RESULTS = ROOT / ".cache" / "test-results"

_LOOK_SECONDS = 0.5
"""How often to look whether something has been prepared."""


@dataclass(frozen=True)
class Job:
    """One shard to run, or of one that has run those ``tests`` that it skipped, by their ids."""

    shard: Shard
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the job and of its folder."""
        return f"{self.shard.name}-skipped" if self.tests else self.shard.name

    @property
    def directory(self) -> Path:
        """Where its results are."""
        return RESULTS / self.name

    @property
    def seconds(self) -> int:
        """About how long it takes, with what may follow from it."""
        more = self.shard.more_seconds
        return more if self.tests else self.shard.seconds + more


def job_of_skipped(job: Job) -> Job | None:
    """Return what remains to be run of a shard that has run, where everything is installed."""
    skipped = () if job.tests else tuple(skipped_tests(job.directory))
    return Job(job.shard, skipped) if skipped else None


class JobQueue:
    """Jobs that have not begun.

    ``next_job`` gives what follows from a job that is done. In ``prepared``, when given, a file
    appears for each thing that shards need.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        *,
        next_job: Callable[[Job], Job | None] = lambda _: None,
        prepared: Path | None = None,
    ) -> None:
        self._waiting = list(jobs)
        self._running = 0
        self._next_job = next_job
        self._prepared = prepared

    async def take(self, *, that_waits: bool = False) -> Job | None:
        """Wait for a job that can begin, and return it; None when there will be none.

        Args:
            that_waits: a job of a shard that does little but wait, or else of any other.
        """
        while self._waiting or self._running:
            ready = [
                job
                for job in self._waiting
                if job.shard.waits is that_waits and self._is_ready(job)
            ]
            if ready:
                job = max(ready, key=lambda job: job.seconds)
                self._waiting.remove(job)
                self._running += 1
                return job
            await asyncio.sleep(_LOOK_SECONDS)
        return None

    def done(self, job: Job) -> None:
        """Take note of the end of a job."""
        self._running -= 1
        if following := self._next_job(job):
            self._waiting.append(following)

    def _is_ready(self, job: Job) -> bool:
        needs = job.shard.needs if job.tests else ""
        return not needs or self._prepared is None or (self._prepared / needs).exists()
