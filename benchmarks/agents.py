"""Agents with tools: a step beside two bare activities, many at once, and a long conversation.

Each round starts a fresh Temporal server, the services and the worker of the tool, all as separate
processes. Ratios are the result; times depend on the machine. With `--peer PYTHON`, of an
environment that has `temporalio-openai-agents`, its agent has the same long conversation on the
same server.

    make bench NAME=agents ARGS="--rounds 3 --peer /path/to/python"

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
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from temporalio.client import Client

from benchmarks.agents_worker import TOOL, BareSteps, Steps
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma_cli.child_process import bound_to_parent
from stigma_cli.devserver import DevServer, find_binary
from tests.stack.stack import Stack

SERVICES = ("stigma_api", "stigma_orchestrator", "ai_worker")
STEPS = 20
CONCURRENCY = (1, 8, 64)
HARD_CALLS = 100
HARD_TEXT_BYTES = 3_400
HARD_RESULT_BYTES = 5_000
"""With the texts, 840 KB of conversation: about 200,000 tokens."""


@dataclass
class Results:
    """Everything measured, over all rounds."""

    agent_ms: list[float] = field(default_factory=list)
    """Of a step: a model call and a tool call."""
    bare_ms: list[float] = field(default_factory=list)
    """Of two activities."""
    steps_a_second: dict[int, list[float]] = field(default_factory=dict)
    """By the number of agents at a time."""
    hard: dict[str, Any] = field(default_factory=dict)
    peer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """Where a round runs."""

    stack: Stack
    client: Client
    task_queue: str

    async def run_agent(self, steps: int, text_bytes: int, result_bytes: int) -> AgentExecution:
        """Run an agent of so many steps to its end."""
        called = {"name": TOOL, "argumentsJson": json.dumps({"size": result_bytes})}
        said = {"text": "y" * text_bytes, "toolCalls": [called]}
        spec = {
            "model": "scripted:benchmark",
            "approval": {"rules": [{"require": "APPROVAL_REQUIREMENT_NEVER"}]},
            "tools": [{"name": TOOL, "activity": {"type": TOOL, "taskQueue": self.task_queue}}],
            "limits": {"steps": steps + 1},
            "script": {"steps": [said] * steps + [{"text": "done"}]},
        }
        request = StartAgentRequest(spec=json_format.ParseDict(spec, AgentSpec()))
        request.request_id = uuid.uuid4().hex
        started = await self.stack.executions.StartAgent(request)
        watch = WatchAgentExecutionRequest(id=started.id)
        async for event in self.stack.executions.WatchAgentExecution(watch):
            if event.HasField("ended"):
                return event.ended.execution
        raise RuntimeError("the stream ended before the execution")

    async def run_bare(self, steps: int) -> None:
        """Run as many pairs of activities."""
        await self.client.execute_workflow(
            BareSteps.run,
            Steps(steps, 100),
            id=f"bare-{uuid.uuid4()}",
            task_queue=self.task_queue,
            execution_timeout=timedelta(minutes=5),
        )

    async def history(self, execution_id: str) -> tuple[int, int]:
        """Return the bytes and the events of an execution's last run."""
        described = await self.client.get_workflow_handle(execution_id).describe()
        info = described.raw_description.workflow_execution_info
        return info.history_size_bytes, info.history_length


@asynccontextmanager
async def open_site(directory: Path) -> AsyncIterator[Site]:
    """Start everything, and end it."""
    async with AsyncExitStack() as opened:
        server = DevServer(find_binary(), log=directory / "temporal.log")
        await opened.enter_async_context(server)
        settings = {"STIGMA_WORKFLOW_SANDBOX": "false", "STIGMA_LOG_LEVEL": "INFO"}
        environment = {"*": settings, "stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "*"}}
        stack = Stack(server.address, directory, services=SERVICES, environment=environment)
        await opened.enter_async_context(stack)
        queue = f"{stack.prefix}benchmark"
        command = [sys.executable, "-m", "benchmarks.agents_worker", server.address, queue]
        with (directory / "worker.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                *bound_to_parent(command), stdout=log, stderr=log
            )
        try:
            yield Site(stack, await Client.connect(server.address), queue)
        finally:
            worker.terminate()
            await worker.wait()


async def measure(site: Site, results: Results) -> None:
    """Measure steps, alone and many at once."""
    await asyncio.gather(site.run_bare(2), site.run_agent(2, 10, 100))  # what starts lazily has
    for _ in range(3):
        began = time.monotonic()
        await site.run_bare(STEPS)
        results.bare_ms.append(1000 * (time.monotonic() - began) / STEPS)
        began = time.monotonic()
        await site.run_agent(STEPS, 100, 100)
        results.agent_ms.append(1000 * (time.monotonic() - began) / STEPS)
    for count in CONCURRENCY:
        began = time.monotonic()
        await asyncio.gather(*(site.run_agent(STEPS, 100, 100) for _ in range(count)))
        rate = count * STEPS / (time.monotonic() - began)
        results.steps_a_second.setdefault(count, []).append(rate)


async def measure_hard(site: Site, results: Results, peer: str | None) -> None:
    """Have the long conversation, and the peer's."""
    began = time.monotonic()
    ended = await site.run_agent(HARD_CALLS, HARD_TEXT_BYTES, HARD_RESULT_BYTES)
    seconds = time.monotonic() - began
    size, events = await site.history(ended.id)
    results.hard = {
        "ended": "completed" if ended.status.output.text == "done" else str(ended.status.failure),
        "answers": ended.status.steps,
        "bytes": size,
        "events": events,
        "seconds": round(seconds, 1),
    }
    if peer is None:
        return
    numbers = map(str, (HARD_CALLS, HARD_TEXT_BYTES, HARD_RESULT_BYTES))
    command = [peer, "-P", str(Path(__file__).with_name("agents_peer.py"))]
    process = await asyncio.create_subprocess_exec(
        *bound_to_parent([*command, site.stack.temporal_address, *numbers]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    results.peer = json.loads(output.splitlines()[-1])


def report(results: Results) -> str:
    """Return the tables, and a line of JSON."""
    agent, bare = statistics.median(results.agent_ms), statistics.median(results.bare_ms)
    lines = [
        f"a step (a model call and a tool call): {agent:.1f} ms; two bare activities: "
        f"{bare:.1f} ms; ratio {agent / bare:.2f}",
        "",
        f"{'agents at a time':18}{'steps a second':>16}",
    ]
    rates = {count: statistics.median(all_) for count, all_ in results.steps_a_second.items()}
    lines += [f"{count:<18}{rate:>16.0f}" for count, rate in rates.items()]
    lines += ["", f"{HARD_CALLS} calls, 840 KB of conversation:"]
    lines += [f"{'':10}{'answers':>8}{'MB':>8}{'events':>8}{'s':>8}  end"]
    for name, found in (("stigma", results.hard), ("plugin", results.peer)):
        if found:
            lines.append(
                f"{name:10}{found['answers']:>8}{found['bytes'] / 1e6:>8.2f}{found['events']:>8}"
                f"{found['seconds']:>8}  {found['ended']}"
            )
    summary = {
        "ms_a_step": round(agent, 2),
        "ms_two_activities": round(bare, 2),
        "ratio": round(agent / bare, 3),
        "steps_a_second": {str(count): round(rate, 1) for count, rate in rates.items()},
        "hard": results.hard,
        "peer": results.peer,
    }
    return "\n".join([*lines, json.dumps(summary)])


async def run(rounds: int, peer: str | None) -> Results:
    """Run all rounds."""
    results = Results()
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
            async with open_site(Path(directory)) as site:
                await measure(site, results)
                if number == rounds - 1:
                    await measure_hard(site, results, peer)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure agents with tools.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="a Python that has temporalio-openai-agents")
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments.rounds, arguments.peer))
    sys.stdout.write(report(results) + "\n")


if __name__ == "__main__":
    main()
