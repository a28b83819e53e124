"""Pending activities of other workflows, looked up in Temporal by their ids, without a token."""

from __future__ import annotations

from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

OPEN = frozenset(
    {
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
    }
)
"""Statuses of an open run."""

_RPC_TIMEOUT = timedelta(seconds=5)


async def find_pending_activity(
    client: Client, *, namespace: str, workflow_id: str, run_id: str, activity_id: str
) -> PendingActivityInfo | None:
    """Return the activity while its run waits for it, or None when it is gone.

    A reset closes a run and continues in another one, which is followed.

    Args:
        client: may be one of another namespace.
        namespace: the caller's; empty: the client's.
        workflow_id: the workflow that waits.
        run_id: its run.
        activity_id: the activity it waits for.

    Raises:
        RPCError: Temporal did not answer, or denies access.
    """
    while run_id:
        try:
            described = await client.workflow_service.describe_workflow_execution(
                DescribeWorkflowExecutionRequest(
                    namespace=namespace or client.namespace,
                    execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                ),
                retry=True,
                timeout=_RPC_TIMEOUT,
            )
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None
        if described.workflow_execution_info.status in OPEN:
            pending = described.pending_activities
            return next((a for a in pending if a.activity_id == activity_id), None)
        run_id = described.workflow_extended_info.reset_run_id
    return None
