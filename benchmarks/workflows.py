"""Documents beside the same work written by hand for Temporal's Python SDK.

Each round starts a fresh Temporal server, the workflow engine and a worker of the hand-written
workflows, each a process of its own. One at a time, the two take turns run by run; 32 at a time,
block by block, the one that begins drawn anew each time. So each round gives ratios of what ran
within the same seconds. Ratios are the result; times depend on the machine.

    make bench NAME=workflows
    make bench NAME=workflows ARGS="--case accumulate-1000 --rounds 9"

A ratio is the median of the rounds', with the least and the most. CPU is the worker's, a run,
32 at a time. The last line is JSON: `ratio_p50` by case, of one run at a time, `ratio_p50_32` and
`ratio_cpu`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.statistics import percentile
from benchmarks.workflows_cases import NAMES, Case, cases
from benchmarks.workflows_site import WAYS, Site, open_site

_WARMING_RUNS = 32
_PAIRS = 25
"""Runs of each way, one at a time."""
_AT_A_TIME, _BLOCK = 32, 96


@dataclass
class Figures:
    """One figure of a case: of each way, one a round."""

    of: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})

    def add(self, figures: dict[str, float]) -> None:
        """Add those of a round."""
        for way, figure in figures.items():
            self.of[way].append(figure)

    @property
    def ratios(self) -> list[float]:
        """Ratios of the document to the work by hand, one a round."""
        return [ours / theirs for ours, theirs in zip(*map(self.of.get, WAYS), strict=True)]

    def __str__(self) -> str:
        medians = "".join(f"{statistics.median(self.of[way]):>7.1f}" for way in WAYS)
        ratios = self.ratios
        return (
            f"{medians}{statistics.median(ratios):>7.2f}  {min(ratios):>4.2f}-{max(ratios):<4.2f}"
        )


@dataclass
class Results:
    """Everything measured of one case."""

    one: Figures = field(default_factory=Figures)
    """Median milliseconds of a run, one at a time."""
    many: Figures = field(default_factory=Figures)
    """The same, many at a time."""
    cpu: Figures = field(default_factory=Figures)
    events: dict[str, int] = field(default_factory=dict)


async def measure(site: Site, case: Case, results: Results) -> None:
    """Measure a case once."""
    for way in WAYS:
        await _run_block(site, case, way, _WARMING_RUNS)
        results.events[way] = await site.events((await site.run(case, way))[1])
    results.one.add(await _measure_turns(site, case))
    blocks = {way: await _measure_block(site, case, way) for way in random.sample(WAYS, 2)}
    results.many.add({way: block[0] for way, block in blocks.items()})
    results.cpu.add({way: block[1] for way, block in blocks.items()})


async def _measure_turns(site: Site, case: Case) -> dict[str, float]:
    samples: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(_PAIRS):
        for way in random.sample(WAYS, 2):
            samples[way].append((await site.run(case, way))[0])
    return {way: percentile(samples[way], 50) for way in WAYS}


async def _measure_block(site: Site, case: Case, way: str) -> tuple[float, float]:
    """Return the median milliseconds of a run, and the worker's CPU milliseconds of one."""
    site.cpu.start()
    samples = await _run_block(site, case, way, _BLOCK)
    return percentile(samples, 50), 1_000 * site.cpu.stop()[way] / _BLOCK


async def _run_block(site: Site, case: Case, way: str, count: int) -> list[float]:
    slots = asyncio.Semaphore(_AT_A_TIME)

    async def one() -> float:
        async with slots:
            return (await site.run(case, way))[0]

    return await asyncio.gather(*(one() for _ in range(count)))


def report(results: dict[str, Results]) -> str:
    """Return the table, and a line of JSON."""
    lines = [
        f"{'':16}{'events':>12}"
        + f"{'p50 of 1, ms':>32}{'p50 of 32, ms':>32}{'CPU a run, ms':>32}",
        f"{'case':16}{'doc':>6}{'hand':>6}"
        + f"{'doc':>7}{'hand':>7}{'ratio':>7}  {'min-max':9}" * 3,
    ]
    for name, one in results.items():
        events = "".join(f"{one.events[way]:>6}" for way in WAYS)
        lines.append(f"{name:16}{events}{one.one}{one.many}{one.cpu}")
    ratios = {
        "ratio_p50": {name: _ratio(one.one) for name, one in results.items()},
        "ratio_p50_32": {name: _ratio(one.many) for name, one in results.items()},
        "ratio_cpu": {name: _ratio(one.cpu) for name, one in results.items()},
    }
    return "\n".join([*lines, json.dumps(ratios)])


def _ratio(figures: Figures) -> float:
    return round(statistics.median(figures.ratios), 3)


async def run(rounds: int, wanted: Sequence[str], seconds: float) -> dict[str, Results]:
    """Run the rounds that begin within so many seconds, at least one."""
    results = {name: Results() for name in wanted}
    began = time.monotonic()
    for number in range(rounds):
        if number and time.monotonic() - began > seconds:
            print(f"{number} of {rounds} rounds: the time is over", file=sys.stderr)
            break
        with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
            async with open_site(Path(directory)) as site:
                for case in cases(site.url):
                    if case.name in results:
                        await measure(site, case, results[case.name])
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure documents beside workflows by hand.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=240, help="no round begins after them")
    parser.add_argument("--case", action="append", choices=NAMES, help="only this one; repeatable")
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments.rounds, arguments.case or NAMES, arguments.seconds))
    sys.stdout.write(report(results) + "\n")


if __name__ == "__main__":
    main()
