"""Runs that no engine goes on with: a note says so, by what Temporal alone tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client, WorkflowHandle

from stigma_cli.errors import CliError
from stigma_cli.output import print_note
from stigma_cli.pollers import find_queue_state
from stigma_cli.temporal_connections import temporal_address, temporal_call

# Seconds before each look at the queue. The second and later ones find an engine that was there:
# its queue is known to be left after a while.
_LOOKS = (10.0, 20.0, 120.0)
_MAX_LOOKS = 100
_KINDS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,)


@asynccontextmanager
async def noted_without_engine(
    client: Client, handle: WorkflowHandle[Any, Any], queue: str
) -> AsyncIterator[None]:
    """Print a note, once, when no engine polls the task queue of a run while the body runs."""
    looking = asyncio.create_task(_look(client, handle, queue))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def _look(client: Client, handle: WorkflowHandle[Any, Any], queue: str) -> None:
    clock = asyncio.get_running_loop().time
    began, started = clock(), None
    for seconds in chain(_LOOKS, repeat(_LOOKS[-1], _MAX_LOOKS - len(_LOOKS))):
        await asyncio.sleep(seconds)
        try:
            started = started or await _start_time(client, handle)
            now = started + timedelta(seconds=clock() - began)
            state = await find_queue_state(client, queue, _KINDS, now)
        except CliError:
            continue  # the wait for the run tells whether Temporal is there
        # Workers that are there and have no free slot do not poll.
        if not state.is_served and not state.has_worker:
            problem = f"no worker polls task queue {queue}: start zigflow_worker"
            print_note(f"it makes no progress: {problem} (`stigma doctor` shows more)")
            return


async def _start_time(client: Client, handle: WorkflowHandle[Any, Any]) -> datetime:
    """Return when a run started, by Temporal's clock, which is that of pollers.

    Raises:
        CliError: Temporal does not tell.
    """
    first = client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
    return (await temporal_call(first.describe(), temporal_address())).start_time
