"""A Temporal workflow, in Python, that asks an agent: `python caller.py MESSAGE`."""

import asyncio
import logging
import os
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


async def main(message: str) -> int:
    """Serve the workflow, and run it once; returns the exit code."""
    try:
        api = ApiConnection.from_environment()
    except ValueError as error:
        return failed(error, "see STIGMA_API_* in packages/stigma-client/README.md")
    try:
        answer = await ask(await connect(api), message)
    except UnreachableError as error:
        return failed(error, "is `stigma up` running? See TEMPORAL_* and STIGMA_API_*")
    except WorkflowFailureError as error:
        return failed(error.cause, "are its agents applied? See README.md")
    finally:
        await api.close()
    sys.stdout.write(f"{answer}\n")
    return 0


def failed(error: BaseException, hint: str) -> int:
    """Tell what went wrong, and what to do about it."""
    sys.stderr.write(f"error: {error}\nhint: {hint}\n")
    return 1


async def connect(api: ApiConnection) -> Client:
    """Connect to both servers: without the API, a call would wait until it is back."""
    try:
        await asyncio.wait_for(api.channel.channel_ready(), API_WAIT_SECONDS)
    except TimeoutError:
        raise UnreachableError("cannot reach Stigma's API") from None
    options = {"target_host": "localhost:7233"} | ClientConfig.load_client_connect_config()
    try:
        return await Client.connect(**options, plugins=[StigmaPlugin(connection=api)])
    except RuntimeError:
        raise UnreachableError(f"cannot reach Temporal at {options['target_host']}") from None


async def ask(client: Client, message: str) -> str:
    """Run the workflow on a worker of our own."""
    async with Worker(client, task_queue="python-caller", workflows=[Ask]):
        return await client.execute_workflow(
            Ask.run, message, id=f"ask-{uuid.uuid4()}", task_queue="python-caller"
        )


if __name__ == "__main__":
    logging.getLogger("temporalio").setLevel(logging.ERROR)  # each failed attempt is a warning
    code = asyncio.run(main(" ".join(sys.argv[1:]) or "How does this read?"))
    sys.stdout.flush()
    os._exit(code)  # the SDK's threads now and then crash in Python's own way out
