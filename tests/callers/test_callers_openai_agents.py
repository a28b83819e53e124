"""An agent of the OpenAI Agents SDK, whose worker has an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from stigma_cli.child_process import bound_to_parent
from tests.callers.programs import ROOT, TOOLS, build
from tests.stack.command_line import stigma
from tests.stack.plugin import StartStack
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from tests.stack.stack import Stack

OWN_AGENT = ROOT / "examples" / "own-agent"
PYTHON = TOOLS / "openai-agents" / "bin" / "python"

# Its environment takes minutes to make.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.fixture
async def interviewer(new_stack: StartStack) -> AsyncIterator[Stack]:
    """An installation, and the worker of the workflow that is the agent."""
    build("openai")
    queues = {"STIGMA_TOOL_TASK_QUEUES": "own-agent*"}
    stack = await new_stack(environment={"stigma_api": queues})
    worker = await asyncio.create_subprocess_exec(
        *bound_to_parent([str(PYTHON), str(OWN_AGENT / "openai" / "interviewer.py"), "--offline"]),
        env={
            **os.environ,
            "TEMPORAL_ADDRESS": stack.temporal_address,
            "TEMPORAL_NAMESPACE": stack.namespace,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield stack
    worker.terminate()
    await worker.wait()


async def test_an_agent_of_another_framework(interviewer: Stack, tmp_path: Any) -> None:
    variables = {
        "STIGMA_API_ADDRESS": interviewer.api_address,
        "TEMPORAL_ADDRESS": interviewer.temporal_address,
        "STIGMA_TASK_QUEUE_PREFIX": interviewer.prefix,
    }

    async def ran(*arguments: str) -> str:
        done = await stigma(*arguments, **variables)
        assert done.code == 0, done.stderr
        return done.stdout

    await ran("agent", "apply", "-f", str(OWN_AGENT / "agents"))
    document = tmp_path / "asks.yaml"
    document.write_text(
        "document: {dsl: '1.0.3', namespace: tests, name: asks, version: '1.0.0'}\n"
        "do: [{ask: {call: agent, with: {agent: sdk-interviewer, message: Ask.}}}]\n"
    )
    running = asyncio.create_task(ran("run", str(document)))

    async def waits() -> dict[str, Any] | None:
        inputs = json.loads(await ran("inputs", "list", "-o", "json"))["inputs"]
        return inputs[0] if inputs else None

    pending = await eventually(waits)
    assert pending["question"] == "Which colour?"
    execution = pending["executionId"]
    await ran("execution", "answer", execution, "red")
    assert json.loads(await running) == "A person was asked."
    shown = json.loads(await ran("execution", "get", execution, "-o", "json"))
    assert shown["status"]["usage"]["modelCalls"] == 2
    watched = await ran("execution", "watch", execution)
    assert "step 1, interviewer" in watched
