"""The handshake beside other systems: a caller that durably waits for a remote worker's answer.

Everywhere the same work: somebody starts a durable caller, which hands a text to a worker in
another process; that makes an answer in one durable step, and the caller's result is the answer. In
each round all servers are fresh, and short blocks of calls run in random order. Nothing waits for
the disk. CPU is that of all processes but this one.

Nexus needs nothing. Others are measured where their software is in a folder, which stays apart:

    npm install --prefix FOLDER @restatedev/restate-server
    python3 -m venv FOLDER/venv && FOLDER/venv/bin/pip install restate-sdk dbos hypercorn httpx
    make bench NAME=peers ARGS="--rounds 3 --installed FOLDER"

DBOS needs PostgreSQL's server binaries, too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers_site import Installed, Peer, open_peers
from benchmarks.processes import CpuMeter
from benchmarks.statistics import percentile

# Callers at a time, and calls a block.
CONCURRENCY = {1: 20, 16: 96}


@dataclass
class Measured:
    """All blocks of one peer and concurrency."""

    latencies: list[float] = field(default_factory=list)
    """Seconds of each call."""
    rates: list[float] = field(default_factory=list)
    """Calls a second of each block."""
    cpu_seconds: float = 0

    def row(self) -> dict[str, float]:
        """Return the figures of the table."""
        return {
            "p50 ms": 1000 * percentile(self.latencies, 50),
            "p95 ms": 1000 * percentile(self.latencies, 95),
            "calls/s": statistics.median(self.rates),
            "CPU ms": 1000 * self.cpu_seconds / len(self.latencies),
        }


Results = dict[tuple[str, int], Measured]


async def main(rounds: int, installed: Path | None) -> None:
    """Measure and print."""
    results: Results = {}
    others = Installed(installed) if installed else None
    with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            folder = Path(tempfile.mkdtemp(dir=directory))
            async with open_peers(folder, others) as peers:
                await _round(peers, results)
    _print(results)


async def _round(peers: list[Peer], results: Results) -> None:
    for callers in CONCURRENCY:
        for peer in peers:
            results.setdefault((peer.name, callers), Measured())
    for peer in peers:  # warm up: imports, connections, caches
        await _run_block(peer, callers=4, calls=16)
    blocks = [(peer, callers) for peer in peers for callers in CONCURRENCY for _ in range(2)]
    random.shuffle(blocks)
    for peer, callers in blocks:
        block = await _run_block(peer, callers, CONCURRENCY[callers])
        all_blocks = results[peer.name, callers]
        all_blocks.latencies += block.latencies
        all_blocks.rates += block.rates
        all_blocks.cpu_seconds += block.cpu_seconds


async def _run_block(peer: Peer, callers: int, calls: int) -> Measured:
    block, open_calls = Measured(), iter([uuid.uuid4().hex for _ in range(calls)])

    async def call_in_turn() -> None:
        for message in open_calls:
            began = time.perf_counter()
            answer = await peer.call(message)
            block.latencies.append(time.perf_counter() - began)
            if answer != f"done {message}":
                raise AssertionError(f"{peer.name} answered something else")

    cpu = CpuMeter({"all": [os.getpid()]})
    cpu.start()
    own, began = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call_in_turn())
    block.rates.append(calls / (time.perf_counter() - began))
    block.cpu_seconds = cpu.stop()["all"] - (time.process_time() - own)
    return block


def _print(results: Results) -> None:
    print(f"\n{'':<28} {'callers':>7} {'p50 ms':>8} {'p95 ms':>8} {'calls/s':>8} {'CPU ms':>8}")
    summary: dict[str, float] = {}
    for (name, callers), measured in results.items():
        row = measured.row()
        print(f"{name:<28} {callers:>7}" + "".join(f" {each:>8.1f}" for each in row.values()))
        summary |= {f"{name}, {callers}: {what}": round(each, 1) for what, each in row.items()}
    print(json.dumps(summary))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--installed", type=Path, metavar="FOLDER", help="of other systems")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.installed))
