"""SIGKILL and pauses of the workflow engine while its runs call HTTP: no call is lost.

One may be made again: once for a worker that was lost, however many attempts it has missed.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from stigma.contracts import engine
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

ENGINE = "zigflow_worker"
AT_A_TIME = 10
CALLS = 4
CALL_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 1.5
MISSED_ATTEMPTS = 4

DOCUMENT = """
document: {dsl: 1.0.3, namespace: reliability, name: calls, version: 1.0.0}
do:
  - each:
      for: {in: "[range($input.calls)]"}
      do:
        - call:
            call: http
            with:
              method: post
              endpoint: ${ $workflow.input.url }
              body: {run: "${ $workflow.id }", number: "${ $index }"}
            export: {as: "${ ($context // {}) + {($index | tostring): .number} }"}
      output: {as: "${ $context | del(.url, .calls) }"}
"""


@dataclass
class Outside:
    """An HTTP server that takes its time, and counts how often each call came."""

    port: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/calls"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until it is cut."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
                writer.write(_response(await self._answer(json.loads(body))))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, call: dict[str, object]) -> bytes:
        self.calls[f"{call['run']}/{call['number']}"] += 1
        await asyncio.sleep(CALL_SECONDS)  # the call takes its time: kills fall into it
        return json.dumps(call).encode()


def _length(head: bytes) -> int:
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0].partition(b":")[2])


def _response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def outside() -> AsyncIterator[Outside]:
    served = Outside()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


@pytest.fixture(scope="module")
async def stack(new_stack: StartStack, temporal_server: TemporalServer) -> AsyncIterator[Stack]:
    allowed = {ENGINE: {"STIGMA_OUTGOING_ALLOW": "127.0.0.0/8"}}
    started = await new_stack(temporal_server.address, services=(ENGINE,), environment=allowed)
    yield started
    await started.stop()


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(8, marks=pytest.mark.timeout(300)),
        pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
async def test_kills_during_calls_lose_no_run(stack: Stack, kills: int) -> None:
    async with AsyncExitStack() as opened:
        served = await opened.enter_async_context(outside())
        killing = asyncio.create_task(kill_the_engine(stack, served, kills))
        ended: list[str] = []

        async def keep_running() -> None:
            while not killing.done():
                ended.append(await run(stack, served))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(keep_running())
        await killing
    made = [served.calls[f"{one}/{number}"] for one in ended for number in range(CALLS)]
    assert 0 not in made, "a call whose result its run has was never made"
    assert sum(made) == served.calls.total(), "a call of no run"
    sys.stdout.write(
        f"{kills} kills, {len(ended)} runs completed, {len(made)} calls, "
        f"{sum(count > 1 for count in made)} of them made more than once, "
        f"at most {max(made)} times\n"
    )


@pytest.mark.timeout(120)
async def test_a_paused_engine_makes_none_of_the_attempts_that_it_has_missed(stack: Stack) -> None:
    engine_process = stack.process(ENGINE)
    async with outside() as served:
        running = asyncio.create_task(run(stack, served, calls=1))
        await eventually(lambda: served.calls.total() == 1, what="the first attempt's call")
        await engine_process.send(signal.SIGSTOP)
        try:
            # Each was given to the paused process, and given up when no heartbeat came.
            await eventually(lambda: has_attempt(stack, MISSED_ATTEMPTS), what="missed attempts")
        finally:
            await engine_process.send(signal.SIGCONT)
        workflow_id = await running
    assert served.calls[f"{workflow_id}/0"] == 2, "the call of the attempt that counts, and before"


async def has_attempt(stack: Stack, number: int) -> bool:
    """Return whether a run's activity has come so far."""
    async for each in stack.client.list_workflows("ExecutionStatus = 'Running'"):
        described = await stack.client.get_workflow_handle(each.id, run_id=each.run_id).describe()
        activities = described.raw_description.pending_activities
        if any(activity.attempt >= number for activity in activities):
            return True
    return False


async def run(stack: Stack, served: Outside, calls: int = CALLS) -> str:
    """Run the document to its end; return the workflow id, checked by what the outside echoed."""
    workflow_id = f"calls-{uuid.uuid4()}"
    data = json.dumps({"url": served.url, "calls": calls})
    output = await stack.client.execute_workflow(
        "calls",
        engine.start_argument(DOCUMENT, data),
        id=workflow_id,
        task_queue=stack.queues.engine,
        execution_timeout=timedelta(minutes=30),
    )
    assert output == {str(number): number for number in range(calls)}
    return workflow_id


async def kill_the_engine(stack: Stack, served: Outside, kills: int) -> None:
    """Kill the engine at random moments of calls, and start it again at once."""
    rng = random.Random()
    for _ in range(kills):
        before = served.calls.total()
        await eventually(
            lambda: served.calls.total() > before,  # noqa: B023 - called within this turn
            within=timedelta(seconds=60),
            what="a call under way",
        )
        await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_SECONDS))  # any moment, not one
        await stack.kill(ENGINE)
        await stack.start(ENGINE)
