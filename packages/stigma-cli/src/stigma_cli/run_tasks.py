"""Tasks of a workflow execution's engine run, beside the events that the API has of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stigma.workflow.v1.workflow_execution_service_pb2 import WatchWorkflowExecutionResponse
from stigma_cli.agent_calls import agent_calls
from stigma_cli.document_text import is_of_document
from stigma_cli.errors import CliError
from stigma_cli.execution_calls import Event
from stigma_cli.output import print_note
from stigma_cli.progress import print_tasks
from stigma_cli.temporal_connections import connect_temporal

_CONNECT_SECONDS = 5.0


class RunTasks:
    """Prints the tasks of an engine run from its start to its end.

    The API has a document's calls and timers alone: Temporal is asked. Without a connection there
    a note says so, and the events of the API are to be shown.
    """

    def __init__(self) -> None:
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._printing: asyncio.Task[None] | None = None
        self._is_decided = asyncio.Event()
        self._is_connected = False

    async def see(self, event: Event) -> bool:
        """Begin with the run; return once the last task is printed when the execution ends.

        Returns:
            Whether the event is one of what the tasks show.
        """
        if not isinstance(event, WatchWorkflowExecutionResponse):
            return False
        if is_of_document(event) and self._printing is not None:
            await self._is_decided.wait()
            return self._is_connected
        if event.HasField("run_started") and self._printing is None:
            self._printing = asyncio.create_task(self._print(event.run_started.run.workflow_id))
        if event.HasField("ended") and self._printing is not None:
            self._ended.set_result(None)
            await self._printing
        return False

    async def stop(self) -> None:
        """Stop printing."""
        if self._printing is not None:
            self._printing.cancel()
            await asyncio.wait([self._printing])

    async def _print(self, workflow_id: str) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                client = await connect_temporal()
            self._is_connected = True
            self._is_decided.set()
            handle = client.get_workflow_handle(workflow_id)
            async with agent_calls(handle) as agents:
                await print_tasks(handle, self._ended, agents)
        except CliError as error:
            print_note(f"tasks are not shown: {error.message}")
        except TimeoutError:
            print_note("tasks are not shown: Temporal does not answer")
        finally:
            self._is_connected = False
            self._is_decided.set()


@asynccontextmanager
async def run_tasks() -> AsyncIterator[RunTasks]:
    """Print tasks as long as the body runs."""
    tasks = RunTasks()
    try:
        yield tasks
    finally:
        await tasks.stop()
