"""A Temporal workflow, in Python, that asks an agent: `python caller.py MESSAGE`."""

import asyncio
import sys
import uuid

from temporalio import workflow
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker

from stigma_client import StigmaPlugin, run_agent


@workflow.defn
class Ask:
    """Asks one agent."""

    @workflow.run
    async def run(self, message: str) -> str:
        """Return the agent's answer."""
        return (await run_agent("style-reviewer", message)).text


async def main(message: str) -> None:
    """Serve the workflow, and run it once."""
    options = {"target_host": "localhost:7233"} | ClientConfig.load_client_connect_config()
    client = await Client.connect(**options, plugins=[StigmaPlugin.from_environment()])
    async with Worker(client, task_queue="python-caller", workflows=[Ask]):
        answer = await client.execute_workflow(
            Ask.run, message, id=f"ask-{uuid.uuid4()}", task_queue="python-caller"
        )
    sys.stdout.write(f"{answer}\n")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "How does this read?"))
