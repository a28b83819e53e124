"""Calls of agents through what is installed, and what became of each."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from stigma.contracts.task_queues import TaskQueues
from tests.cluster.program import until
from tests.reliability.caller_service import QUEUE, AskAgent, Question
from tests.reliability.calls import Call
from tests.reliability.scripted import scripted

# Above every wait of a caller whose worker is killed: it is missed after HEARTBEAT_SECONDS.
ANSWERED_WITHIN = timedelta(minutes=5)
HEARTBEAT_SECONDS = 20.0
MODEL_SECONDS = 0.3
_VISIBLE_WITHIN = timedelta(seconds=60)
# The tests' own, which are of no named agent; `helm test` runs one of a named one.
_EXECUTIONS = "WorkflowType = 'AgentWorkflow' AND StigmaAgent = 'inline'"


@dataclass
class Handshake:
    """A call, and how long its caller waited; `seconds` is None when no right answer came."""

    call: Call
    seconds: float | None = None
    problem: str = ""


@dataclass
class Tally:
    """All handshakes of one load."""

    handshakes: list[Handshake] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def lost(self) -> list[str]:
        """Workflows of callers that got no right answer in time, and what they got."""
        return [
            f"{one.call.handle.id}: {one.problem or 'no answer'}"
            for one in self.handshakes
            if one.seconds is None
        ]

    @property
    def figures(self) -> dict[str, str]:
        waited = [one.seconds for one in self.handshakes if one.seconds is not None]
        return {
            "started": str(len(self.handshakes)),
            "finished": str(len(waited)),
            "lost": str(len(self.lost)),
            "doubled": str(len(self.doubled)),
            "slowest": f"{max(waited, default=0.0):.1f} s",
        }

    async def check(self) -> dict[str, str]:
        """Every caller got its answer, once, from an execution of its own; returns the figures."""
        answered = [one.call for one in self.handshakes if one.seconds is not None]
        executions = Counter([(await call.completion()).id for call in answered])
        self.doubled = [one for one, count in executions.items() if count > 1]
        assert self.handshakes, "nothing was asked"
        assert self.lost == []
        assert self.doubled == []
        return self.figures


class Crowd:
    """Starts calls: by documents of the engine, and by workflows of a caller's own worker."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.started = 0

    async def engine(self, delay: float = MODEL_SECONDS) -> Call:
        """Run a document whose only task is the call."""
        call = {
            "spec": scripted(delay=delay, duration="PT{:g}S".format),
            "message": "${ .message }",
            "heartbeatTimeout": f"PT{HEARTBEAT_SECONDS:g}S",
        }
        header = {"dsl": "1.0.3", "namespace": "tests", "name": "cluster", "version": "1.0.0"}
        document = {"document": header, "do": [{"ask": {"call": "agent", "with": call}}]}
        message = uuid.uuid4().hex[:12]
        argument = {"document": json.dumps(document), "input": {"message": message}}
        return await self._start("cluster", argument, TaskQueues().engine, message)

    async def worker(self, delay: float = MODEL_SECONDS) -> Call:
        """Run a workflow of the caller's own worker."""
        message = uuid.uuid4().hex[:12]
        question = Question(
            message,
            scripted(delay=delay),
            timeout=ANSWERED_WITHIN.total_seconds(),
            heartbeat_timeout=HEARTBEAT_SECONDS,
        )
        return await self._start(AskAgent.run, question, QUEUE, message)

    async def check_executions(self) -> None:
        """Every call so far led to one execution, as visibility has it a moment later."""
        found = 0

        async def enough() -> bool:
            nonlocal found
            found = (await self._client.count_workflows(_EXECUTIONS)).count
            return found >= self.started

        await until(
            enough, within=_VISIBLE_WITHIN, what=lambda: f"{self.started} executions, not {found}"
        )
        assert found == self.started, f"{self.started} calls led to {found} executions"

    @asynccontextmanager
    async def steadily(self, rate: float) -> AsyncIterator[Tally]:
        """So many handshakes a second as long as the context lasts; waits for every answer."""
        clock, enough, tally = asyncio.get_running_loop().time, asyncio.Event(), Tally()
        began = clock()

        async def keep_asking(group: asyncio.TaskGroup) -> None:
            for number in itertools.count():
                try:
                    await asyncio.wait_for(enough.wait(), max(0.0, began + number / rate - clock()))
                except TimeoutError:
                    group.create_task(self._ask(number, tally))
                else:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_asking(group))
            try:
                yield tally
            finally:
                enough.set()

    @asynccontextmanager
    async def busily(self, at_a_time: int, delay: float = MODEL_SECONDS) -> AsyncIterator[Tally]:
        """So many callers, each asking again when it is answered, as long as the context lasts."""
        enough, tally = asyncio.Event(), Tally()

        async def keep_asking(number: int) -> None:
            while not enough.is_set():
                await self._ask(number, tally, delay)

        async with asyncio.TaskGroup() as group:
            for number in range(at_a_time):
                group.create_task(keep_asking(number))
            try:
                yield tally
            finally:
                enough.set()

    async def _ask(self, number: int, tally: Tally, delay: float = MODEL_SECONDS) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        handshake = Handshake(await (self.engine if number % 2 else self.worker)(delay))
        tally.handshakes.append(handshake)
        try:
            answer = await handshake.call.answer(ANSWERED_WITHIN)
        except TimeoutError:
            return
        except WorkflowFailureError as error:
            handshake.problem = repr(error.cause)
            return
        if answer == handshake.call.right_answer:
            handshake.seconds = clock() - began
        else:
            handshake.problem = answer

    async def _start(self, workflow: Any, argument: Any, queue: str, message: str) -> Call:
        self.started += 1
        handle = await self._client.start_workflow(
            workflow, argument, id=f"call-{uuid.uuid4()}", task_queue=queue
        )
        return Call(self._client, handle, message)
