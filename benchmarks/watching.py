"""Watch streams: how old an event is when a watcher has it.

Starts a Temporal server and the services as processes. Agents call a tool now and then; each event
of a stream is compared with the time that Temporal gave it. Once as many agents run as there are
watchers, one for each, and once all watch the same agent.

    make bench NAME=watching ARGS="--watchers 100 --seconds 60"

The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

from google.protobuf import json_format

from benchmarks.agents import Site, open_site
from benchmarks.statistics import percentile
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import AgentSpec

STEPS_A_SECOND = 5.0
"""Of all agents together: the machine is to be busy, not full."""
PERCENTILES = (50, 95, 99)


def agent(steps: int, pause: float) -> AgentSpec:
    """Return an agent that says something so many times, each after a pause in seconds."""
    said = {"text": "Still at it.", "delay": f"{pause:.3f}s", "pause": True}
    spec = {
        "model": "scripted:benchmark",
        "limits": {"steps": steps + 1},
        "script": {"steps": [said] * steps + [{"text": "done"}]},
    }
    return json_format.ParseDict(spec, AgentSpec())


async def start(site: Site, spec: AgentSpec) -> str:
    """Start an agent, and return its execution's id."""
    request = StartAgentRequest(spec=spec, message="Go on.", request_id=uuid.uuid4().hex)
    return (await site.stack.executions.StartAgent(request)).id


async def watch(site: Site, execution_id: str) -> list[float]:
    """Watch an execution to its end, and return the age of each event in milliseconds.

    What came before the stream was open is left out.
    """
    opened = time.time()
    ages = []
    request = WatchAgentExecutionRequest(id=execution_id)
    async for event in site.stack.executions.WatchAgentExecution(request):
        happened = event.time.ToNanoseconds() / 1e9
        if happened > opened:
            ages.append(1000 * (time.time() - happened))
    return ages


async def measure(site: Site, executions: int, watchers: int, seconds: float) -> list[float]:
    """Have so many agents run for so long, each with so many watchers; return the ages."""
    pause = executions / STEPS_A_SECOND
    spec = agent(max(2, round(seconds / pause)), pause)
    started = []
    for _ in range(executions):  # evenly, so that their steps do not coincide
        started.append(asyncio.create_task(start(site, spec)))
        await asyncio.sleep(pause / executions)
    ids = await asyncio.gather(*started)
    streams = [watch(site, each) for each in ids for _ in range(watchers)]
    ages = await asyncio.gather(*streams)
    return [age for each in ages for age in each]


async def run(watchers: int, seconds: float) -> dict[str, list[float]]:
    """Measure once; return the ages by what was watched."""
    with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
        async with open_site(Path(directory)) as site:
            await watch(site, await start(site, agent(2, 0)))  # what starts lazily has
            return {
                f"{watchers} x 1": await measure(site, watchers, 1, seconds),
                f"1 x {watchers}": await measure(site, 1, watchers, seconds),
            }


def report(ages: dict[str, list[float]]) -> str:
    """Return the table, and a line of JSON."""
    head = "".join(f"{f'p{which}':>9}" for which in PERCENTILES)
    lines = [f"{'executions x watchers':24}{'events':>9}{head}    age of an event, ms"]
    summary = {}
    for shape, samples in ages.items():
        found = {f"p{which}": round(percentile(samples, which), 1) for which in PERCENTILES}
        figures = "".join(f"{each:>9.1f}" for each in found.values())
        lines.append(f"{shape:24}{len(samples):>9}{figures}")
        summary[shape] = {"events": len(samples), **found}
    return "\n".join([*lines, json.dumps(summary)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the age of events in Watch streams.")
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    sys.stdout.write(report(asyncio.run(run(arguments.watchers, arguments.seconds))) + "\n")


if __name__ == "__main__":
    main()
