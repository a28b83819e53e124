"""A Temporal worker whose workflow asks an agent: `python worker.py [NAME]` runs it once."""

import asyncio
import os
import sys
import uuid

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from stigma_client import StigmaPlugin, run_agent

TASK_QUEUE = "greetings"


@workflow.defn
class Greet:
    """Asks one agent, and holds no worker while it waits."""

    @workflow.run
    async def run(self, name: str) -> str:
        """Return what the agent says."""
        return (await run_agent("greeter", f"I am {name}")).text


async def main(name: str) -> None:
    """Serve the workflow, and run it once."""
    address = os.environ.get("TEMPORAL_ADDRESS", "localhost:7233")
    client = await Client.connect(address, plugins=[StigmaPlugin.from_environment()])
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[Greet]):
        greeting = await client.execute_workflow(
            Greet.run, name, id=f"greet-{uuid.uuid4()}", task_queue=TASK_QUEUE
        )
    sys.stdout.write(f"{greeting}\n")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "Grace"))
    sys.stdout.flush()
    os._exit(0)  # the SDK's threads now and then crash in Python's own way out
