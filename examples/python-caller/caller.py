"""A Temporal workflow, in Python, that asks an agent: `python caller.py MESSAGE`."""

import asyncio
import logging
import sys
import uuid

from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker

from stigma_client import ApiConnection, StigmaPlugin, run_agent

API_WAIT_SECONDS = 5.0


@workflow.defn
class Ask:
    """Asks one agent."""

    @workflow.run
    async def run(self, message: str) -> str:
        """Return the agent's answer."""
        return (await run_agent("style-reviewer", message)).text


class UnreachableError(Exception):
    """A server does not answer."""


async def main(message: str) -> None:
    """Serve the workflow, and run it once. Exits 1, with one line and a hint, when it fails."""
    try:
        client = await connect(ApiConnection.from_environment())
    except (UnreachableError, ValueError, OSError) as error:
        sys.exit(f"error: {error}\nhint: is `stigma up` running? See TEMPORAL_* and STIGMA_API_*")
    async with Worker(client, task_queue="python-caller", workflows=[Ask]):
        try:
            answer = await client.execute_workflow(
                Ask.run, message, id=f"ask-{uuid.uuid4()}", task_queue="python-caller"
            )
        except WorkflowFailureError as error:
            sys.exit(f"error: {error.cause}\nhint: are its agents applied? See README.md")
    sys.stdout.write(f"{answer}\n")


async def connect(api: ApiConnection) -> Client:
    """Connect to both servers. (Without the API, a call would wait until it is back.)"""
    try:
        await asyncio.wait_for(api.channel.channel_ready(), API_WAIT_SECONDS)
    except TimeoutError:
        await api.close()
        raise UnreachableError("cannot reach Stigma's API") from None
    options = {"target_host": "localhost:7233"} | ClientConfig.load_client_connect_config()
    try:
        return await Client.connect(**options, plugins=[StigmaPlugin(connection=api)])
    except RuntimeError:
        raise UnreachableError(f"cannot reach Temporal at {options['target_host']}") from None


if __name__ == "__main__":
    logging.getLogger("temporalio").setLevel(logging.ERROR)  # each failed attempt is a warning
    asyncio.run(main(" ".join(sys.argv[1:]) or "How does this read?"))
