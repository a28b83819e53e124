"""Worker of `benchmarks.workflows`: each document's work, by hand with Temporal's Python SDK.

python -m benchmarks.workflows_native TEMPORAL_ADDRESS TASK_QUEUE
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

with workflow.unsafe.imports_passed_through():
    import httpx2

GET = "get"


class HttpGet:
    """One client for all calls, as the engine's worker has."""

    def __init__(self) -> None:
        self._client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=200))

    @activity.defn(name=GET)
    async def get(self, url: str) -> Any:
        """Return the JSON that a URL answers."""
        response = await self._client.get(url)
        response.raise_for_status()
        return response.json()


@workflow.defn
class SetTen:
    """Makes a new value of the last one, ten times."""

    @workflow.run
    async def run(self, data: dict[str, Any]) -> Any:
        value = data
        for number in range(10):
            value = {"count": value["count"] + 1, "last": f"set{number}"}
        return value


@workflow.defn
class ForThousand:
    """Makes a new value for each of a thousand items."""

    @workflow.run
    async def run(self, data: dict[str, Any]) -> Any:
        value: Any = data
        for index, item in enumerate(data["items"]):
            value = {"item": item, "index": index}
        return value


@workflow.defn
class AccumulateThousand:
    """Adds each of a thousand items to a list."""

    @workflow.run
    async def run(self, data: dict[str, Any]) -> Any:
        found: list[Any] = []
        for item in data["items"]:
            found = [*found, {"item": item}]
        return {"found": found}


@workflow.defn
class ForkHundred:
    """Runs a hundred branches."""

    @workflow.run
    async def run(self, data: dict[str, Any]) -> Any:
        return await asyncio.gather(*(self._branch(data, number) for number in range(100)))

    async def _branch(self, data: dict[str, Any], number: int) -> Any:
        return {"branch": number, "count": data["count"]}


@workflow.defn
class HttpOnce:
    """Calls an HTTP endpoint."""

    @workflow.run
    async def run(self, data: dict[str, Any]) -> Any:
        return await workflow.execute_activity(
            GET, data["url"], schedule_to_close_timeout=timedelta(seconds=60)
        )


WORKFLOWS: Sequence[type] = (SetTen, ForThousand, AccumulateThousand, ForkHundred, HttpOnce)


async def serve(address: str, task_queue: str) -> None:
    """Serve the queue until the process is ended."""
    worker = Worker(
        await Client.connect(address),
        task_queue=task_queue,
        activities=[HttpGet().get],
        workflows=WORKFLOWS,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
