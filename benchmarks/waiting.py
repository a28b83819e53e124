"""Agents that wait for people: what a wait costs, and how fast an answer is acted on.

Starts a Temporal server and the services as processes. Many executions wait for an approval; the
CPU of all services and the server is read while nothing happens. Then some are answered one by one:
the time from the answer to the next model call, beside one bare activity in the same run.

    make bench NAME=waiting ARGS="--waiting 1000 --seconds 60"

The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from benchmarks.agents import Site, open_site
from benchmarks.processes import CpuMeter
from stigma.agent.v1.agent_execution_service_pb2 import (
    InputAnswer,
    ListPendingInputsRequest,
    StartAgentRequest,
    SubmitAgentInputRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import AgentSpec
from tests.stack.waiting import eventually

AT_ONCE = 32
ANSWERS = 30


@dataclass
class Waits:
    """Figures that were measured."""

    waiting: int
    seconds: float
    cpu: dict[str, float]
    activities: int
    """Pending activities of all that waits: slots of workers, or tasks that wait for one."""
    answer_ms: list[float]
    """From the answer's RPC until the next model call is scheduled."""
    activity_ms: list[float]
    """Of one bare activity."""


async def start(site: Site) -> str:
    """Start an agent that asks a question, and return its id."""
    call = {"name": "ask", "argumentsJson": json.dumps({"question": "Go on?"})}
    spec = {
        "model": "scripted:benchmark",
        "tools": [{"name": "ask", "question": {}}],
        "script": {"steps": [{"toolCalls": [call]}, {"text": "done"}]},
    }
    request = StartAgentRequest(spec=json_format.ParseDict(spec, AgentSpec()))
    request.request_id = uuid.uuid4().hex
    started = await site.stack.executions.StartAgent(request)
    listed = ListPendingInputsRequest(id=started.id)

    async def waits() -> bool:
        return bool((await site.stack.executions.ListPendingInputs(listed)).inputs)

    await eventually(waits)
    return started.id


async def start_many(site: Site, count: int) -> list[str]:
    """Start so many, some at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with places:
            return await start(site)

    return await asyncio.gather(*(one() for _ in range(count)))


async def answer(site: Site, execution_id: str) -> float:
    """Answer one, and return the milliseconds until its next model call is scheduled."""
    request = SubmitAgentInputRequest(
        id=execution_id,
        input_id="question-1-1",
        request_id=uuid.uuid4().hex,
        reply=InputAnswer(text="Yes."),
    )
    watch = WatchAgentExecutionRequest(id=execution_id)
    sent = time.time()
    await site.stack.executions.SubmitAgentInput(request)
    async for event in site.stack.executions.WatchAgentExecution(watch):
        if event.HasField("model_call_started") and event.model_call_started.step > 1:
            return 1000 * (event.time.ToNanoseconds() / 1e9 - sent)
    raise RuntimeError("the stream ended before the next model call")


async def pending_activities(site: Site, execution_ids: list[str]) -> int:
    """Return how many activities of the executions are pending."""
    count = 0
    for execution_id in execution_ids:
        described = await site.client.get_workflow_handle(execution_id).describe()
        count += len(described.raw_description.pending_activities)
    return count


async def measure(site: Site, waiting: int, seconds: float) -> Waits:
    """Have so many wait for so long, then answer some."""
    execution_ids = await start_many(site, waiting)
    names = ("stigma_orchestrator", "ai_worker", "stigma_api")
    groups = {name: [site.stack.process(name).pid] for name in names}
    meter = CpuMeter(groups)
    meter.start()
    began = time.monotonic()
    await asyncio.sleep(seconds)
    cpu, measured = meter.stop(), time.monotonic() - began
    activities = await pending_activities(site, execution_ids)
    answer_ms = [await answer(site, execution_id) for execution_id in execution_ids[:ANSWERS]]
    activity_ms = []
    for _ in range(ANSWERS):
        began = time.monotonic()
        await site.run_bare(1)
        activity_ms.append(1000 * (time.monotonic() - began) / 2)
    return Waits(waiting, measured, cpu, activities, answer_ms, activity_ms)


def report(waits: Waits) -> str:
    """Return the table, and a line of JSON."""
    hours = waits.waiting * waits.seconds / 3600
    used = {name: seconds / hours for name, seconds in waits.cpu.items()}
    answered, activity = statistics.median(waits.answer_ms), statistics.median(waits.activity_ms)
    lines = [
        f"{waits.waiting} executions wait for people for {waits.seconds:.0f} s; "
        f"pending activities: {waits.activities}",
        "",
        f"{'CPU, ms an hour of one wait':32}",
        *(f"  {name:30}{1000 * seconds:>10.1f}" for name, seconds in used.items()),
        "",
        f"answer to next model call: {answered:.1f} ms; one bare activity: {activity:.1f} ms; "
        f"ratio {answered / activity:.2f}",
    ]
    summary = {
        "waiting": waits.waiting,
        "pending_activities": waits.activities,
        "cpu_ms_an_hour": {name: round(1000 * seconds, 2) for name, seconds in used.items()},
        "answer_ms": round(answered, 2),
        "activity_ms": round(activity, 2),
        "ratio": round(answered / activity, 3),
    }
    return "\n".join([*lines, json.dumps(summary)])


async def run(waiting: int, seconds: float) -> Waits:
    """Measure once."""
    with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
        async with open_site(Path(directory)) as site:
            await site.run_bare(2)
            return await measure(site, waiting, seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure agents that wait for people.")
    parser.add_argument("--waiting", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    sys.stdout.write(report(asyncio.run(run(arguments.waiting, arguments.seconds))) + "\n")


if __name__ == "__main__":
    main()
