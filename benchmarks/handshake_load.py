"""Blocks of calls: a closed loop of callers, each waiting for its workflow's result."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

from benchmarks.handshake_modes import DOCUMENT, DOCUMENT_NAME, Mode, PythonCaller
from benchmarks.handshake_native import ANSWER, BareActivity, ChildWorkflow
from benchmarks.handshake_site import Site


@dataclass(frozen=True)
class Block:
    """One block: seconds of each call, of the whole, and CPU seconds by group of processes."""

    mode: Mode
    callers: int
    latencies: list[float]
    seconds: float
    cpu: dict[str, float]


async def run_block(site: Site, mode: Mode, callers: int, calls: int) -> Block:
    """Run so many calls with so many callers at a time."""
    latencies: list[float] = []
    open_calls = iter(range(max(calls, callers)))
    site.cpu.start()
    began = time.perf_counter()

    async def call_in_turn() -> None:
        while next(open_calls, None) is not None:
            latencies.append(await _call(site, mode))

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call_in_turn())
    seconds = time.perf_counter() - began
    return Block(mode, callers, latencies, seconds, site.cpu.stop())


async def _call(site: Site, mode: Mode) -> float:
    message = uuid.uuid4().hex
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
