"""A Temporal worker whose activity is a tool of the agent in clerk.yaml."""

import asyncio
import os

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

HOURS = {"monday": "9 to 17", "saturday": "10 to 14"}


@activity.defn
async def opening_hours(arguments: dict[str, str]) -> str:
    """Return when the shop is open; what a tool raises is told to the model."""
    return HOURS.get(arguments["day"].lower(), "closed")


async def main() -> None:
    """Serve the tool until Ctrl-C."""
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    await Worker(client, task_queue="tools", activities=[opening_hours]).run()


if __name__ == "__main__":
    asyncio.run(main())
