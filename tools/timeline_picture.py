"""Draws `docs/images/timeline.svg`: a real call's timeline, as the command shows it.

`python -m tools.timeline_picture [FILE]`. Starts everything, lets an engine's document call an
agent whose provider is busy for a moment, and asks `stigma execution timeline` for the picture.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.client import Client

from stigma.agent.v1.agent_execution_service_pb2 import ListAgentExecutionsRequest
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_RATE_LIMITED,
    Agent,
    AgentSpec,
    Script,
    ScriptFailure,
    ScriptStep,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma_cli.connections import Api, open_api
from stigma_cli.runs import result, start
from stigma_cli.stack import Ports, Stack
from stigma_cli.up import started
from tests.stack.waiting import eventually

PICTURE = Path("docs/images/timeline.svg")

REVIEWER = Agent(
    name="reviewer",
    spec=AgentSpec(
        model="scripted:reviewer",
        script=Script(
            steps=[
                ScriptStep(text="Reading.", pause=True, delay=Duration(nanos=400_000_000)),
                ScriptStep(
                    text="Thinking.",
                    pause=True,
                    failure=ScriptFailure(
                        reason=FAILURE_REASON_RATE_LIMITED, message="busy", attempts=1
                    ),
                ),
                ScriptStep(text="Looks good.", delay=Duration(nanos=700_000_000)),
            ]
        ),
    ),
)

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: examples, name: order, version: '1.0.0'}
do: [{review: {call: agent, with: {agent: reviewer, message: Review this order.}}}]
"""


async def draw(file: Path, directory: Path) -> None:
    """Run everything, and draw."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STIGMA_", "TEMPORAL_"))
    }
    stack = Stack(directory, Ports.free(), environment=environment)
    async with started(stack), open_api(stack.api_address) as api:
        await api.call(api.agents.ApplyAgent, ApplyAgentRequest(agent=REVIEWER))
        client = await Client.connect(
            stack.temporal_address, namespace=stack.namespace, data_converter=DATA_CONVERTER
        )
        queue = TaskQueues().engine
        await result(await start(client, "order", DOCUMENT, None, queue=queue))
        execution_id = await eventually(lambda: _ended(api), what="the execution's end")
        arguments = ("execution", "timeline", execution_id, "--svg", str(file))
        command = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "stigma_cli",
            *arguments,
            env=environment | {"STIGMA_API_ADDRESS": stack.api_address},
        )
        async with asyncio.timeout(timedelta(seconds=30).total_seconds()):
            if await command.wait():
                raise SystemExit(f"stigma {' '.join(arguments)} failed")


async def _ended(api: Api) -> str:
    request = ListAgentExecutionsRequest(filter="phase = COMPLETED")
    page = await api.call(api.executions.ListAgentExecutions, request)
    return page.executions[0].id if page.executions else ""


def main() -> None:
    """Draw into the file of the first argument, else into the documents."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(draw(file.resolve(), Path(directory)))


if __name__ == "__main__":
    main()
