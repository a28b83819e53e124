"""Workers of tools in Go and Java: activities that hold no line of ours, called by an agent."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from stigma_cli.child_process import bound_to_parent
from tests.callers.programs import JAVA, ROOT, TOOLS, build
from tests.stack.command_line import stigma
from tests.stack.plugin import StartStack

if TYPE_CHECKING:
    from tests.stack.stack import Stack

ORDER_DESK = ROOT / "examples" / "order-desk"

# The first test builds the program.
pytestmark = pytest.mark.timeout(600)


GO = (str(TOOLS / "order-desk"),)
JAVA_DESK = ("java", "-cp", str(JAVA / "target" / "callers.jar"), "dev.stigma.examples.OrderDesk")


@pytest.fixture(params=["go", "java"])
async def desk(request: pytest.FixtureRequest, new_stack: StartStack) -> AsyncIterator[Stack]:
    """An installation, and the order desk's worker."""
    build("tools" if request.param == "go" else "java")
    stack = await new_stack(environment={"stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "order-desk"}})
    worker = await asyncio.create_subprocess_exec(
        *bound_to_parent([*(GO if request.param == "go" else JAVA_DESK)]),
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


async def test_order_desk(desk: Stack) -> None:
    variables = {
        "STIGMA_API_ADDRESS": desk.api_address,
        "TEMPORAL_ADDRESS": desk.temporal_address,
        "STIGMA_TASK_QUEUE_PREFIX": desk.prefix,
    }
    applied = await stigma("agent", "apply", "-f", str(ORDER_DESK / "agents"), **variables)
    assert applied.code == 0, applied.stderr
    done = await stigma("run", str(ORDER_DESK / "workflow.yaml"), **variables)
    assert done.code == 0, done.stderr
    said = "The order was lost and is refunded: receipt 1: 4200 cents for A-7"
    assert json.loads(done.stdout) == said
