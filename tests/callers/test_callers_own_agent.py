"""An agent that is a workflow in Go, and holds no line of ours: it reports, and asks a person."""

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

# The test builds the program.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def own_agent(new_stack: StartStack) -> AsyncIterator[Stack]:
    """An installation, and the worker of the workflow that is the agent."""
    build("tools")
    stack = await new_stack(environment={"stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "own-agent*"}})
    worker = await asyncio.create_subprocess_exec(
        *bound_to_parent([str(TOOLS / "own-agent")]),
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


async def test_own_agent(own_agent: Stack) -> None:
    variables = {
        "STIGMA_API_ADDRESS": own_agent.api_address,
        "TEMPORAL_ADDRESS": own_agent.temporal_address,
        "STIGMA_TASK_QUEUE_PREFIX": own_agent.prefix,
    }

    async def ran(*arguments: str) -> str:
        done = await stigma(*arguments, **variables)
        assert done.code == 0, done.stderr
        return done.stdout

    await ran("agent", "apply", "-f", str(OWN_AGENT / "agents"))
    document = str(OWN_AGENT / "workflow.yaml")
    small = await ran("run", document, "--input", '{"cents": 4200}')
    assert json.loads(small) == {"refunded": True, "why": "it is small"}
    running = asyncio.create_task(ran("run", document, "--input", '{"cents": 9900}'))

    async def waits() -> dict[str, Any] | None:
        inputs = json.loads(await ran("inputs", "list", "-o", "json"))["inputs"]
        return inputs[0] if inputs else None

    pending = await eventually(waits)
    assert (pending["id"], pending["question"]) == ("question-0-1", "Refund 9900 cents?")
    execution = pending["executionId"]
    wrong = await stigma("execution", "answer", execution, "--json", '"yes"', **variables)
    assert wrong.code != 0
    assert "schema" in wrong.stderr
    await ran("execution", "answer", execution, "--json", "true")
    done = json.loads(await running)
    assert done["refunded"]
    assert done["why"].endswith(" decided")
    shown = await ran("execution", "get", execution)
    assert "120 in, 40 out" in shown
    timeline = await ran("execution", "timeline", execution)
    assert "its workflow Refund runs on task queue own-agent" in timeline
    assert "its workflow told of step 1, estimate" in timeline
    assert "waits for an answer to its workflow" in timeline
    watched = await ran("execution", "watch", execution)
    assert "step 1, estimate: The order A-7 was lost. That is 9900 cents." in watched
