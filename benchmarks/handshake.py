"""The handshake beside a bare activity and a native child workflow, side by side in one run.

Each round starts a fresh Temporal server (the development server slows as it fills), the four
services, and two workers with the SDK's defaults, all as separate processes, and runs short blocks
of every mode and concurrency in random order. Ratios are the result; times depend on the machine.

    make bench NAME=handshake ARGS="--rounds 5"
    make bench NAME=handshake ARGS="--short"

The short one takes half a minute and shows that it works; its figures are noise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.handshake_acknowledgement import Acknowledgement, measure_acknowledgement
from benchmarks.handshake_delivery import measure_delivery
from benchmarks.handshake_holding import Holding, measure_holding
from benchmarks.handshake_load import Block, run_block
from benchmarks.handshake_modes import Mode
from benchmarks.handshake_site import Site, open_site
from benchmarks.statistics import percentile
from stigma_cli.devserver import find_binary


@dataclass(frozen=True)
class Size:
    """Extent of a round."""

    concurrency: Mapping[int, int]
    """Calls a block by callers at a time."""
    blocks: int
    """Of each mode and concurrency."""
    samples: int
    """Of an acknowledgement; of a delivery a third fewer."""


# Enough calls a block that filling and draining the pipeline counts little.
FULL = Size({1: 10, 16: 80, 64: 192}, blocks=2, samples=30)
SHORT = Size({1: 5, 16: 32}, blocks=1, samples=6)


@dataclass
class Results:
    """Everything measured, over all rounds."""

    blocks: list[Block] = field(default_factory=list)
    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    delivery_seconds: list[float] = field(default_factory=list)
    holding: Holding | None = None

    def of(self, mode: Mode, callers: int) -> list[Block]:
        """The blocks of one mode and concurrency."""
        return [b for b in self.blocks if b.mode is mode and b.callers == callers]

    def latencies(self, mode: Mode, callers: int) -> list[float]:
        """Seconds of every call of one mode and concurrency."""
        return [seconds for block in self.of(mode, callers) for seconds in block.latencies]

    def throughput(self, mode: Mode, callers: int) -> float:
        """Calls a second over all blocks of one mode and concurrency."""
        blocks = self.of(mode, callers)
        return sum(len(b.latencies) for b in blocks) / sum(b.seconds for b in blocks)

    def cpu_ms(self, mode: Mode, callers: int) -> dict[str, float]:
        """CPU milliseconds a call, by group of processes."""
        blocks = self.of(mode, callers)
        calls = sum(len(b.latencies) for b in blocks)
        return {group: 1000 * sum(b.cpu[group] for b in blocks) / calls for group in blocks[0].cpu}


async def main(rounds: int, waits: int, size: Size) -> None:
    """Measure and print."""
    binary = find_binary()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            async with open_site(binary, Path(tempfile.mkdtemp(dir=directory))) as site:
                await _round(site, results, size)
                if number == rounds - 1 and waits:
                    print(f"holding {waits} waits", flush=True)
                    results.holding = await measure_holding(site, waits)
    _print(results, size)


async def _round(site: Site, results: Results, size: Size) -> None:
    for mode in Mode:  # warm up: imports, connections, the workers' sticky caches
        await run_block(site, mode, callers=4, calls=8)
    blocks = [(mode, callers) for mode in Mode for callers in size.concurrency]
    blocks *= size.blocks
    random.shuffle(blocks)
    for mode, callers in blocks:
        results.blocks.append(await run_block(site, mode, callers, size.concurrency[callers]))
    results.acknowledgements += await measure_acknowledgement(site, calls=size.samples)
    results.delivery_seconds += await measure_delivery(site, calls=size.samples * 2 // 3)


def _print(results: Results, size: Size) -> None:
    print(
        f"\n{'mode':<14} {'callers':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'calls/s':>8}",
        end="",
    )
    groups = list(results.blocks[0].cpu)
    print("".join(f" {group.removeprefix('stigma_'):>15}" for group in groups), " (CPU ms a call)")
    for callers in size.concurrency:
        for mode in Mode:
            latencies = results.latencies(mode, callers)
            times = "".join(f" {1000 * percentile(latencies, p):>8.1f}" for p in (50, 95, 99))
            cpu = "".join(f" {ms:>15.1f}" for ms in results.cpu_ms(mode, callers).values())
            rate = results.throughput(mode, callers)
            print(f"{mode.value:<14} {callers:>7}{times} {rate:>8.1f}{cpu}")
    start = [a.start_agent_seconds for a in results.acknowledgements]
    bare = [a.signal_with_start_seconds for a in results.acknowledgements]
    print(f"\nACK (StartAgent with a token)  p50 {_ms(start)} ms  p95 {_ms(start, 95)} ms")
    print(f"one bare signal-with-start     p50 {_ms(bare)} ms  p95 {_ms(bare, 95)} ms")
    delivery = results.delivery_seconds
    print(f"delivery (answer in history to caller resolved)  p50 {_ms(delivery)} ms")
    if results.holding is not None:
        print(results.holding.describe())
    print(json.dumps(_summary(results)))


def _summary(results: Results) -> dict[str, float | int | None]:
    def p50(mode: Mode) -> float:
        return percentile(results.latencies(mode, 1), 50)

    ratio = results.throughput(Mode.HANDSHAKE, 16) / results.throughput(Mode.CHILD_WORKFLOW, 16)
    holding = results.holding
    return {
        "ratio_p50": round(p50(Mode.HANDSHAKE) / p50(Mode.CHILD_WORKFLOW), 3),
        "ratio_throughput": round(ratio, 3),
        "ratio_p50_python_caller": round(p50(Mode.PYTHON_CALLER) / p50(Mode.CHILD_WORKFLOW), 3),
        "ack_p50_ms": _ms([a.start_agent_seconds for a in results.acknowledgements]),
        "signal_with_start_p50_ms": _ms(
            [a.signal_with_start_seconds for a in results.acknowledgements]
        ),
        "overhead_p50_ms": round(1000 * (p50(Mode.HANDSHAKE) - p50(Mode.BARE_ACTIVITY)), 1),
        "delivery_p50_ms": _ms(results.delivery_seconds),
        "slots_held": holding.slots_held if holding else None,
    }


def _ms(seconds: Sequence[float], which: int = 50) -> float:
    return round(1000 * percentile(seconds, which), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--waits", type=int, default=1000, help="agents to wait for at once; 0: skip"
    )
    parser.add_argument("--short", action="store_true", help="one round of few calls, no waits")
    arguments = parser.parse_args()
    if arguments.short:
        asyncio.run(main(1, 0, SHORT))
    else:
        asyncio.run(main(arguments.rounds, arguments.waits, FULL))
