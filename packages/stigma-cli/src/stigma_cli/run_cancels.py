"""Cancels of what `stigma run` has started: runs of documents, which only Temporal knows."""

from __future__ import annotations

import re

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts.executions import Kind
from stigma_cli.connections import connect_temporal, task_queues, temporal_address
from stigma_cli.errors import CliError, Exit
from stigma_cli.server_errors import from_temporal

# Ids of `stigma run`: the document's name, which may begin as an execution's id does, and a UUID.
_RUN_ID = re.compile(r".+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The run of a workflow execution: to cancel that is to cancel the execution.
_ENGINE_RUN_ID = re.compile(r"run-([0-9a-f]{32})")


def execution_of(workflow_id: str) -> str:
    """Return the execution whose run on the engine this is; the id itself for anything else."""
    found = _ENGINE_RUN_ID.fullmatch(workflow_id)
    return f"{Kind.WORKFLOW}-{found[1]}" if found else workflow_id


def is_run(workflow_id: str) -> bool:
    """Return whether an id is of a run of `stigma run`."""
    return bool(_RUN_ID.fullmatch(workflow_id))


async def cancel_run(workflow_id: str, reason: str) -> str:
    """Ask a run to stop.

    Returns:
        The name of its status if it had ended; else "".

    Raises:
        CliError: there is no such run, or it is a workflow of somebody else.
    """
    client = await connect_temporal()
    handle = client.get_workflow_handle(workflow_id)
    try:
        described = await handle.describe()
        if described.task_queue != task_queues().engine:
            raise CliError(
                f"{workflow_id} is no run of a document: its task queue is {described.task_queue}",
                "`temporal workflow cancel` stops workflows of others",
                code=Exit.USAGE,
            )
        if described.status is not WorkflowExecutionStatus.RUNNING:
            return described.status.name if described.status else "UNKNOWN"
        await handle.cancel(reason=reason)
    except (RPCError, RuntimeError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            raise CliError(
                f"run {workflow_id} not found",
                "see TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE",
                code=Exit.NOT_FOUND,
            ) from None
        raise from_temporal(error, temporal_address()) from None
    return ""
