"""Documents beside the same work written by hand for Temporal's Python SDK.

Each round starts a fresh Temporal server, the workflow engine and a worker of the hand-written
workflows, each a process of its own; each case runs in turns on both, one at a time and 32 at a
time. Ratios are the result; times depend on the machine.

    make bench NAME=workflows ARGS="--rounds 3"

The last line is JSON: `ratio_p50` by case, of one run at a time.
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
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client

from benchmarks.processes import CpuMeter
from benchmarks.statistics import percentile
from benchmarks.workflows_cases import Case, cases
from stigma.contracts import engine
from stigma_cli.child_process import bound_to_parent
from stigma_cli.devserver import DevServer, find_binary
from tests.stack.stack import Stack

ENGINE, NATIVE = "document", "by hand"
AT_A_TIME = (1, 32)
RUNS = {1: 20, 32: 96}
_TIMEOUT = timedelta(minutes=2)


@dataclass
class Samples:
    """Everything measured of one case, one way, at one concurrency."""

    milliseconds: list[float] = field(default_factory=list)
    cpu_milliseconds: list[float] = field(default_factory=list)
    """Of the worker, a run; one figure a block."""
    events: int = 0


Results = dict[tuple[str, str, int], Samples]


@dataclass(frozen=True)
class Site:
    """Where a round runs."""

    client: Client
    stack: Stack
    native_queue: str
    url: str
    cpu: CpuMeter

    async def run(self, case: Case, way: str) -> tuple[float, str]:
        """Run a case once; return its milliseconds and its workflow id."""
        workflow_id = f"{case.name}-{uuid.uuid4()}"
        argument: Any = case.data
        if way == ENGINE:
            kind, queue = case.name, self.stack.queues.engine
            argument = engine.start_argument(case.document, json.dumps(case.data))
        else:
            kind, queue = case.native.__name__, self.native_queue
        began = time.perf_counter()
        await self.client.execute_workflow(
            kind, argument, id=workflow_id, task_queue=queue, execution_timeout=_TIMEOUT
        )
        return 1_000 * (time.perf_counter() - began), workflow_id

    async def events(self, workflow_id: str) -> int:
        """Return the length of a history."""
        described = await self.client.get_workflow_handle(workflow_id).describe()
        return described.history_length


@asynccontextmanager
async def open_site(directory: Path) -> AsyncIterator[Site]:
    """Start everything, and end it."""
    async with AsyncExitStack() as opened:
        server = DevServer(find_binary(), log=directory / "temporal.log")
        await opened.enter_async_context(server)
        url = await opened.enter_async_context(_json_server())
        settings = {"STIGMA_LOG_LEVEL": "INFO", "STIGMA_OUTGOING_ALLOW": "127.0.0.0/8"}
        stack = Stack(
            server.address, directory, services=["zigflow_worker"], environment={"*": settings}
        )
        await opened.enter_async_context(stack)
        queue = f"{stack.prefix}by-hand"
        worker = await opened.enter_async_context(_worker(server.address, queue, directory))
        groups = {ENGINE: [stack.process("zigflow_worker").pid], NATIVE: [worker.pid]}
        client = await Client.connect(server.address)
        yield Site(client, stack, queue, url, CpuMeter(groups))


@asynccontextmanager
async def _worker(
    address: str, queue: str, directory: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "benchmarks.workflows_native", address, queue]
    with (directory / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *bound_to_parent(command), stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _json_server() -> AsyncIterator[str]:
    """Serve one small JSON document; give its URL."""
    answer = b'{"id": 1, "name": "Milou", "status": "available"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(head % len(answer) + answer)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/pet"
    finally:
        server.close()


async def measure(site: Site, results: Results, wanted: Sequence[str]) -> None:
    """Measure every case both ways, in turns."""
    for case in cases(site.url):
        if wanted and case.name not in wanted:
            continue
        for way in (ENGINE, NATIVE):
            await site.run(case, way)  # what starts lazily has
        for at_a_time in AT_A_TIME:
            for way in random.sample((ENGINE, NATIVE), 2):
                samples = results.setdefault((case.name, way, at_a_time), Samples())
                await _measure_block(site, case, way, at_a_time, samples)


async def _measure_block(
    site: Site, case: Case, way: str, at_a_time: int, samples: Samples
) -> None:
    count = RUNS[at_a_time]
    slots = asyncio.Semaphore(at_a_time)

    async def one() -> tuple[float, str]:
        async with slots:
            return await site.run(case, way)

    site.cpu.start()
    done = await asyncio.gather(*(one() for _ in range(count)))
    samples.cpu_milliseconds.append(1_000 * site.cpu.stop()[way] / count)
    samples.milliseconds += [milliseconds for milliseconds, _ in done]
    samples.events = await site.events(done[-1][1])


def report(results: Results) -> str:
    """Return the table, and a line of JSON."""
    lines = [
        f"{'':18}{'events':>13}{'p50 of 1, ms':>22}{'p50 of 32, ms':>22}{'CPU a run, ms':>22}",
        f"{'case':18}" + f"{'doc':>7}{'hand':>6}" + f"{'doc':>8}{'hand':>7}{'ratio':>7}" * 3,
    ]
    ratios = {}
    for name in dict.fromkeys(name for name, _, _ in results):
        cells, ratios[name] = _cells(results, name)
        lines.append(f"{name:18}" + cells)
    return "\n".join([*lines, json.dumps({"ratio_p50": ratios})])


def _cells(results: Results, name: str) -> tuple[str, float]:
    of = {
        (way, at_a_time): results[name, way, at_a_time]
        for way in (ENGINE, NATIVE)
        for at_a_time in AT_A_TIME
    }
    pairs = [
        tuple(percentile(of[way, at_a_time].milliseconds, 50) for way in (ENGINE, NATIVE))
        for at_a_time in AT_A_TIME
    ]
    pairs.append(tuple(statistics.median(of[way, 32].cpu_milliseconds) for way in (ENGINE, NATIVE)))
    cells = f"{of[ENGINE, 1].events:>7}{of[NATIVE, 1].events:>6}"
    cells += "".join(f"{ours:>8.1f}{theirs:>7.1f}{ours / theirs:>7.2f}" for ours, theirs in pairs)
    return cells, round(pairs[0][0] / pairs[0][1], 3)


async def run(rounds: int, wanted: Sequence[str]) -> Results:
    """Run all rounds."""
    results: Results = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
            async with open_site(Path(directory)) as site:
                await measure(site, results, wanted)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure documents beside workflows by hand.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", default=[], help="only this one; repeatable")
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments.rounds, arguments.case))
    sys.stdout.write(report(results) + "\n")


if __name__ == "__main__":
    main()
