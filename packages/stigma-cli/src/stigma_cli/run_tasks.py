"""Tasks of a workflow execution's engine run, beside the events that the API has of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stigma.workflow.v1.workflow_execution_service_pb2 import WatchWorkflowExecutionResponse
from stigma_cli.agent_calls import agent_calls
from stigma_cli.errors import CliError
from stigma_cli.execution_calls import Event
from stigma_cli.output import print_note
from stigma_cli.progress import print_tasks
from stigma_cli.temporal_connections import connect_temporal

_CONNECT_SECONDS = 5.0


class RunTasks:
    """Prints the tasks of an engine run from its start to its end.

    The API does not have them: Temporal is asked. Without a connection there a note says so.
    """

    def __init__(self) -> None:
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._printing: asyncio.Task[None] | None = None

    async def see(self, event: Event) -> None:
        """Begin with the run; return once the last task is printed when the execution ends."""
        if not isinstance(event, WatchWorkflowExecutionResponse):
            return
        if event.HasField("run_started") and self._printing is None:
            self._printing = asyncio.create_task(self._print(event.run_started.run.workflow_id))
        if event.HasField("ended") and self._printing is not None:
            self._ended.set_result(None)
            await self._printing

    async def stop(self) -> None:
        """Stop printing."""
        if self._printing is not None:
            self._printing.cancel()
            await asyncio.wait([self._printing])

    async def _print(self, workflow_id: str) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                client = await connect_temporal()
            handle = client.get_workflow_handle(workflow_id)
            async with agent_calls(handle) as agents:
                await print_tasks(handle, self._ended, agents)
        except CliError as error:
            print_note(f"tasks are not shown: {error.message}")
        except TimeoutError:
            print_note("tasks are not shown: Temporal does not answer")


@asynccontextmanager
async def run_tasks() -> AsyncIterator[RunTasks]:
    """Print tasks as long as the body runs."""
    tasks = RunTasks()
    try:
        yield tasks
    finally:
        await tasks.stop()
