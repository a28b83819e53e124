"""A fresh Temporal server with Stigma's services and the benchmark's workers, all processes."""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from benchmarks.handshake_modes import AGENT, PATIENT_AGENT
from benchmarks.handshake_native import ANSWER
from benchmarks.processes import CpuMeter, running
from stigma.agent.v1.agent_pb2 import (
    Agent,
    AgentSpec,
    QuestionTool,
    Script,
    ScriptStep,
    ScriptToolCall,
    Tool,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma_cli.devserver import DevServer, free_ports
from tests.stack.stack import Stack

SERVICES = ("zigflow_worker", "stigma_api", "stigma_orchestrator", "ai_worker")


@dataclass(frozen=True)
class Site:
    """Where a round runs."""

    client: Client
    stack: Stack
    task_queue: str
    caller_metrics_port: int
    cpu: CpuMeter

    def caller_metrics(self) -> str:
        """The SDK's own metrics of the calling worker."""
        url = f"http://127.0.0.1:{self.caller_metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text


@asynccontextmanager
async def open_site(binary: Path, directory: Path) -> AsyncIterator[Site]:
    """Start everything, and end it."""
    async with AsyncExitStack() as opened:
        server = await opened.enter_async_context(DevServer(binary, log=directory / "temporal.log"))
        settings = {"STIGMA_WORKFLOW_SANDBOX": "false", "STIGMA_LOG_LEVEL": "INFO"}
        stack = Stack(server.address, directory, services=SERVICES, environment={"*": settings})
        await opened.enter_async_context(stack)
        await _apply_agents(stack)
        task_queue = f"{stack.prefix}benchmark"
        ports = free_ports(2)
        workers = [
            await opened.enter_async_context(_worker(role, stack, task_queue, port, directory))
            for role, port in zip(("caller", "child"), ports, strict=True)
        ]
        groups = {
            "temporal": [server.pid or 0],
            **{name: [stack.process(name).pid] for name in SERVICES},
            "workers": [worker.pid for worker in workers],
        }
        client = await Client.connect(server.address)
        yield Site(client, stack, task_queue, ports[0], CpuMeter(groups))


def _worker(
    role: str, stack: Stack, task_queue: str, metrics_port: int, directory: Path
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "benchmarks.handshake_worker", role, stack.temporal_address]
    command += [task_queue, stack.api_address, str(metrics_port)]
    return running(command, directory / f"{role}.log")


async def _apply_agents(stack: Stack) -> None:
    step = ScriptStep(text=f"{ANSWER} {{message}}")
    quick = AgentSpec(model="scripted:benchmark", script=Script(steps=[step]))
    question = ScriptToolCall(name="ask", arguments_json='{"question": "Go on?"}')
    patient = AgentSpec(
        model="scripted:benchmark",
        tools=[Tool(name="ask", question=QuestionTool())],
        script=Script(steps=[ScriptStep(tool_calls=[question])]),
    )
    for name, spec in ((AGENT, quick), (PATIENT_AGENT, patient)):
        await stack.agents.ApplyAgent(ApplyAgentRequest(agent=Agent(name=name, spec=spec)))
