"""A workflow execution through the API beside the run of the engine that it wraps.

Starts a fresh Temporal server, the services and a plain worker as processes, and runs short blocks
of four ways to run one document, in random order. Ratios are the result.

    make bench NAME=executions ARGS="--rounds 3"

The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from temporalio.common import RawValue

from benchmarks.handshake_load import seconds_on_server
from benchmarks.handshake_native import WRAPPED_DOCUMENT, WrappedDocument
from benchmarks.handshake_site import Site, open_site
from benchmarks.statistics import percentile
from stigma.contracts import engine
from stigma.workflow.v1 import workflow_execution_service_pb2_grpc, workflow_service_pb2_grpc
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    StartWorkflowRequest,
    WatchWorkflowExecutionRequest,
)
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from stigma_cli.devserver import find_binary

# Executions at a time, and executions a block.
CONCURRENCY = {1: 20, 16: 160}
DOCUMENT = f"""
document: {{ dsl: '1.0.3', namespace: benchmark, name: {WRAPPED_DOCUMENT}, version: '1.0.0' }}
do:
  - answer:
      set: ${{ . }}
"""


class Way(Enum):
    """One way to run a document, by the name that the table shows."""

    RUN = "run"
    """A run of the engine, started in Temporal."""
    CHILD = "native parent"
    """The same as the child of a plain Temporal workflow, as the SDK's documents show it."""
    EXECUTION = "execution"
    """Started through the API; Temporal is asked for the result."""
    WATCHED = "watched"
    """Started through the API, and watched to its end there."""


@dataclass(frozen=True)
class Block:
    """Seconds of each execution, of the whole on the server's clock, and CPU seconds by group."""

    way: Way
    callers: int
    latencies: list[float]
    seconds: float
    cpu: dict[str, float]


async def main(rounds: int) -> None:
    """Measure and print."""
    binary = find_binary()
    blocks: list[Block] = []
    with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            async with open_site(binary, Path(tempfile.mkdtemp(dir=directory))) as site:
                blocks += await _round(site)
    sys.stdout.write(_report(blocks) + "\n")


async def _round(site: Site) -> list[Block]:
    await _apply_document(site)
    for way in Way:  # what starts lazily has
        await _run_block(site, way, callers=4, executions=16)
    shapes = [(way, callers) for way in Way for callers in CONCURRENCY for _ in range(2)]
    random.shuffle(shapes)
    return [await _run_block(site, way, n, CONCURRENCY[n]) for way, n in shapes]


async def _apply_document(site: Site) -> None:
    workflows = workflow_service_pb2_grpc.WorkflowServiceStub(site.stack.channel)
    workflow = Workflow(name=WRAPPED_DOCUMENT, spec=WorkflowSpec(document=DOCUMENT))
    await workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))


async def _run_block(site: Site, way: Way, callers: int, executions: int) -> Block:
    latencies: list[float] = []
    workflow_ids: list[str] = []
    messages = iter([uuid.uuid4().hex for _ in range(executions)])
    site.cpu.start()

    async def run_in_turn() -> None:
        for message in messages:
            began = time.perf_counter()
            workflow_ids.append(await _execute(site, way, message))
            latencies.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(run_in_turn())
    cpu = site.cpu.stop()
    return Block(way, callers, latencies, await seconds_on_server(site, workflow_ids), cpu)


async def _execute(site: Site, way: Way, message: str) -> str:
    """Run the document to its end; return the id of the outermost workflow."""
    if way in (Way.RUN, Way.CHILD):
        return await _execute_in_temporal(site, way, message)
    executions = workflow_execution_service_pb2_grpc.WorkflowExecutionServiceStub(
        site.stack.channel
    )
    request = StartWorkflowRequest(
        workflow_id=WRAPPED_DOCUMENT, input_json=json.dumps(message), request_id=message
    )
    started = await executions.StartWorkflow(request)
    if way is Way.EXECUTION:
        await site.client.get_workflow_handle(started.id, result_type=RawValue).result()
    else:
        async for _ in executions.WatchWorkflowExecution(
            WatchWorkflowExecutionRequest(id=started.id)
        ):
            pass
    return started.id


async def _execute_in_temporal(site: Site, way: Way, message: str) -> str:
    argument = engine.start_argument(DOCUMENT, json.dumps(message))
    if way is Way.RUN:
        answer = await site.client.execute_workflow(
            WRAPPED_DOCUMENT, argument, id=message, task_queue=site.stack.queues.engine
        )
    else:
        answer = await site.client.execute_workflow(
            WrappedDocument.run,
            args=[argument.payload.data.decode(), site.stack.queues.engine],
            id=message,
            task_queue=site.task_queue,
        )
    if answer != message:
        raise AssertionError(f"{way.value} answered something else")
    return message


def _report(blocks: Sequence[Block]) -> str:
    """Return the table, and a line of JSON."""
    head = f"{'way':<14} {'callers':>7} {'p50 ms':>8} {'p95 ms':>8} {'a second':>8}"
    groups = list(blocks[0].cpu)
    names = "".join(f" {group.removeprefix('stigma_'):>15}" for group in groups)
    lines = [f"{head}{names}  (CPU ms an execution)"]
    summary: dict[str, float] = {}
    for callers in CONCURRENCY:
        for way in Way:
            figures = _figures([b for b in blocks if b.way is way and b.callers == callers])
            numbers = "".join(f" {figures[name]:>8.1f}" for name in ("p50", "p95", "rate"))
            cpu = "".join(f" {figures[group]:>15.1f}" for group in groups)
            lines.append(f"{way.value:<14} {callers:>7}{numbers}{cpu}")
            if way is Way.RUN:
                base = figures
                continue
            name = way.value.replace(" ", "_")
            summary[f"{name}_p50_{callers}"] = round(figures["p50"] / base["p50"], 3)
            summary[f"{name}_rate_{callers}"] = round(base["rate"] / figures["rate"], 3)
            total, of_the_run = (sum(each[group] for group in groups) for each in (figures, base))
            summary[f"{name}_cpu_{callers}"] = round(total / of_the_run, 3)
    return "\n".join([*lines, "times a run's:", json.dumps(summary)])


def _figures(blocks: Sequence[Block]) -> dict[str, float]:
    latencies = [each for block in blocks for each in block.latencies]
    cpu = {
        group: 1000 * sum(block.cpu[group] for block in blocks) / len(latencies)
        for group in blocks[0].cpu
    }
    return {
        "p50": 1000 * percentile(latencies, 50),
        "p95": 1000 * percentile(latencies, 95),
        "rate": len(latencies) / sum(block.seconds for block in blocks),
        **cpu,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    asyncio.run(main(parser.parse_args().rounds))
