"""The start: of a command, of the services, of everything on one machine, and of the first call.

CPU is user and system time of the whole process tree, from its start. `stigma up` is ready when it
says so. The calls are documents whose one task calls an agent; the first one follows right after.

    make bench NAME=startup ARGS="--rounds 5"
    make bench NAME=startup ARGS="--rounds 3 --times 1 --against HEAD~20"

The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from temporalio.client import Client
from temporalio.service import RPCError

from benchmarks.handshake_modes import AGENT, DOCUMENT, DOCUMENT_NAME
from benchmarks.processes import CpuMeter
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, Script, ScriptStep
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma_client import ApiConnection

CALLS = 10
READY_SECONDS = 120
STIGMA = Path(sysconfig.get_path("scripts"), "stigma")
IMPORTS = {
    "stigma_api": ("stigma_api.server", "stigma_api.settings"),
    "stigma_orchestrator": ("stigma_orchestrator.worker", "stigma_orchestrator.settings"),
    "ai_worker": ("ai_worker.worker", "ai_worker.settings"),
    "zigflow_worker": ("zigflow_worker.worker", "zigflow_worker.settings"),
}
"""The modules that each service's process imports before it serves."""


@dataclass
class Results:
    """Seconds of each round, by the name of what was measured."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        """Keep a figure of one round."""
        self.seconds.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        """Return the median over all rounds."""
        return statistics.median(self.seconds[name])


async def main(rounds: int) -> None:
    """Measure and print."""
    results = Results()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        _measure_commands(results)
        with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
            await _measure_up(Path(directory), results)
    _print(results)


def _measure_commands(results: Results) -> None:
    results.add("help", _cpu_seconds([str(STIGMA), "--help"]))
    check = [sys.executable, "-P", "-m", "zigflow_worker", "validate", "-"]
    results.add("check of a document", _cpu_seconds(check, text=DOCUMENT))
    for name, modules in IMPORTS.items():
        imports = f"import stigma.runtime, {', '.join(modules)}"
        results.add(f"import {name}", _cpu_seconds([sys.executable, "-P", "-c", imports]))


def _cpu_seconds(command: Sequence[str], text: str = "", **environment: str) -> float:
    """Run a command, which reads a text, to its end, and return the CPU that it used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        check=True,
        input=text.encode(),
        stdout=subprocess.DEVNULL,
        env=_own_environment() | environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def _measure_up(directory: Path, results: Results) -> None:
    began = time.monotonic()
    async with _up(directory) as (process, ready):
        results.add("up, time", time.monotonic() - began)
        for name, seconds in _cpu_of_up(process.pid, ready).items():
            results.add(f"up {name}", seconds)
        for number, seconds in enumerate(await _measure_calls(ready), start=1):
            results.add(f"call {number}", seconds)
        address = {"STIGMA_API_ADDRESS": str(ready["api"])}
        results.add("agent list", _cpu_seconds([str(STIGMA), "agent", "list"], **address))
        address = {"TEMPORAL_ADDRESS": str(ready["temporal"])} | address
        results.add("doctor", _cpu_seconds([str(STIGMA), "doctor"], **address))


@asynccontextmanager
async def _up(directory: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Start everything, and end it; the second is what it prints once it is ready."""
    command = [str(STIGMA), "up", "--free-ports", "--output", "json", "--dir", str(directory)]
    with (directory / "up.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=log, env=_own_environment()
        )
    try:
        async with asyncio.timeout(READY_SECONDS):
            assert process.stdout is not None
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError((directory / "up.log").read_text())
        yield process, json.loads(line)
    finally:
        process.terminate()
        await process.wait()


def _own_environment() -> dict[str, str]:
    """Return this environment without another server's address."""
    unwanted = ("STIGMA_API", "TEMPORAL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def _cpu_of_up(pid: int, ready: Mapping[str, Any]) -> dict[str, float]:
    """Return CPU seconds since the start: of each service, of Temporal, and of the command."""
    services = {name: service["pid"] for name, service in ready["services"].items()}
    everything = CpuMeter({**{name: [own] for name, own in services.items()}, "all": [pid]}).read()
    own = psutil.Process(pid)
    others = {each.pid for each in own.children()} - {*services.values()}
    temporal = sum(CpuMeter({"temporal": sorted(others)}).read().values())
    of_services = {name: everything[name] for name in services}
    command = everything["all"] - temporal - sum(of_services.values())
    return {**of_services, "temporal": temporal, "command": command, "all": everything["all"]}


async def _measure_calls(ready: Mapping[str, Any]) -> list[float]:
    client = await Client.connect(ready["temporal"])
    with suppress(RPCError):  # this process's own first call is no concern of the services
        await client.get_workflow_handle("none").describe()
    connection = ApiConnection(ready["api"])
    try:
        await _apply_agent(connection)
    finally:
        await connection.close()
    return [await _call(client) for _ in range(CALLS)]


async def _apply_agent(connection: ApiConnection) -> None:
    step = ScriptStep(text="{message}")
    spec = AgentSpec(model="scripted:benchmark", script=Script(steps=[step]))
    request = ApplyAgentRequest(agent=Agent(name=AGENT, spec=spec))
    await AgentServiceStub(connection.channel).ApplyAgent(request, metadata=connection.metadata())


async def _call(client: Client) -> float:
    message = uuid.uuid4().hex
    began = time.perf_counter()
    answer: str = await client.execute_workflow(
        DOCUMENT_NAME,
        {"document": DOCUMENT, "input": message},
        id=message,
        task_queue="zigflow",
        result_type=str,
    )
    seconds = time.perf_counter() - began
    if answer != message:
        raise AssertionError("an agent answered something else")
    return seconds


def _print(results: Results) -> None:
    print(f"\n{'median of rounds':<28} {'CPU s':>8}   {'least':>6} {'most':>6}")
    for name, seconds in results.seconds.items():
        unit = "  (time)" if name.startswith("call") or name.endswith("time") else ""
        row = f"{results.median(name):>8.3f}   {min(seconds):>6.3f} {max(seconds):>6.3f}"
        print(f"{name:<28} {row}{unit}")
    print(json.dumps(_summary(results)))


def _summary(results: Results) -> dict[str, float]:
    imports = sum(results.median(f"import {name}") for name in IMPORTS)
    up, temporal = results.median("up all"), results.median("up temporal")
    first, tenth = results.median("call 1"), results.median(f"call {CALLS}")
    return {
        "help_cpu_s": round(results.median("help"), 3),
        "agent_list_cpu_s": round(results.median("agent list"), 3),
        "doctor_cpu_s": round(results.median("doctor"), 3),
        "check_cpu_s": round(results.median("check of a document"), 3),
        "imports_cpu_s": round(imports, 3),
        "up_cpu_s": round(up, 3),
        "up_temporal_cpu_s": round(temporal, 3),
        "up_seconds": round(results.median("up, time"), 3),
        "ratio_up_to_imports": round(up / imports, 3),
        "first_call_ms": round(1000 * first, 1),
        "tenth_call_ms": round(1000 * tenth, 1),
        "ratio_first_call_to_tenth": round(first / tenth, 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds))
