"""Blocks of calls: a closed loop of callers, each waiting for its workflow's result."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.handshake_modes import DOCUMENT, DOCUMENT_NAME, Mode, PythonCaller
from benchmarks.handshake_native import ANSWER, BareActivity, ChildWorkflow
from benchmarks.handshake_site import Site


@dataclass(frozen=True)
class Block:
    """One block: seconds of each call, of the whole, and CPU seconds by group of processes.

    A call's seconds are what its caller waits. The whole is from the first start to the last end on
    the server's clock: the development server now and then misses to tell a waiting client that a
    workflow has ended, which then hears of it when its long poll expires, 20 s later.
    """

    mode: Mode
    callers: int
    latencies: list[float]
    seconds: float
    cpu: dict[str, float]


async def run_block(site: Site, mode: Mode, callers: int, calls: int) -> Block:
    """Run so many calls with so many callers at a time."""
    latencies: list[float] = []
    messages = [uuid.uuid4().hex for _ in range(max(calls, callers))]
    open_calls = iter(messages)
    site.cpu.start()

    async def call_in_turn() -> None:
        latencies.extend([await _call(site, mode, message) for message in open_calls])

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call_in_turn())
    cpu = site.cpu.stop()
    return Block(mode, callers, latencies, await seconds_on_server(site, messages), cpu)


async def seconds_on_server(site: Site, workflow_ids: Sequence[str]) -> float:
    """Return the seconds from the first start of workflows to the last end."""
    runs = [await site.client.get_workflow_handle(id_).describe() for id_ in workflow_ids]
    ends = [run.close_time for run in runs if run.close_time is not None]
    return (max(ends) - min(run.start_time for run in runs)).total_seconds()


async def _call(site: Site, mode: Mode, message: str) -> float:
    began = time.perf_counter()
    result = await _run(site, mode, message)
    seconds = time.perf_counter() - began
    if result != f"{ANSWER} {message}":
        raise AssertionError(f"{mode.value} answered something else")
    return seconds


async def _run(site: Site, mode: Mode, message: str) -> str:
    client, task_queue = site.client, site.task_queue
    match mode:
        case Mode.BARE_ACTIVITY:
            return await client.execute_workflow(
                BareActivity.run, message, id=message, task_queue=task_queue
            )
        case Mode.CHILD_WORKFLOW:
            return await client.execute_workflow(
                ChildWorkflow.run, message, id=message, task_queue=task_queue
            )
        case Mode.PYTHON_CALLER:
            return await client.execute_workflow(
                PythonCaller.run, message, id=message, task_queue=task_queue
            )
        case Mode.HANDSHAKE:
            return await run_document(site, message)


async def run_document(site: Site, message: str, workflow_id: str | None = None) -> str:
    """Run the document that asks an agent, and return the answer."""
    answer: str = await site.client.execute_workflow(
        DOCUMENT_NAME,
        {"document": DOCUMENT, "input": message},
        id=workflow_id or message,
        task_queue=site.stack.queues.engine,
        result_type=str,
    )
    return answer
