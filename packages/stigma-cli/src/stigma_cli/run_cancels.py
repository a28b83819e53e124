"""Cancels of what `stigma run` has started: runs of documents, which only Temporal knows."""

from __future__ import annotations

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from stigma_cli.connections import task_queues
from stigma_cli.errors import CliError, Exit
from stigma_cli.temporal_connections import connect_temporal, temporal_address
from stigma_cli.temporal_errors import from_temporal


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
