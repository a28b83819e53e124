"""The benchmark's worker: a tool, and the bare workflow that agents are compared with.

python -m benchmarks.agents_worker TEMPORAL_ADDRESS TASK_QUEUE
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

TOOL = "lookup"


@dataclass
class Steps:
    """How many steps a bare run has, and how many bytes each of its results."""

    count: int
    size: int


@activity.defn(name=TOOL)
async def lookup(arguments: dict[str, Any]) -> str:
    """Return a text of `size` bytes."""
    return "x" * int(arguments["size"])


@workflow.defn
class BareSteps:
    """Two activities a step, one after the other: what an agent's step is at the least."""

    @workflow.run
    async def run(self, steps: Steps) -> None:
        for _ in range(2 * steps.count):
            await workflow.execute_activity(
                lookup, {"size": steps.size}, schedule_to_close_timeout=timedelta(seconds=60)
            )


async def serve(address: str, task_queue: str) -> None:
    """Serve the queue until the process is ended."""
    worker = Worker(
        await Client.connect(address),
        task_queue=task_queue,
        activities=[lookup],
        workflows=[BareSteps],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
