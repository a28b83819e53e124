"""The deadline of an execution, by Temporal's clock alone."""

from __future__ import annotations

from datetime import UTC, datetime

from temporalio import workflow

from stigma.contracts.deadlines import execution_deadline
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, WorkflowExecutionInput


def settle_deadline(request: AgentWorkflowInput | WorkflowExecutionInput) -> None:
    """Set a workflow input's deadline to the time at which the execution is timed out.

    The API, whose clock is another one, has only foretold it. An input of release 0.1.0 has no
    timeout, and keeps the deadline that it came with.
    """
    if not request.HasField("timeout"):
        return
    spec = request.spec
    request.deadline.FromDatetime(
        execution_deadline(
            _start_time(request),
            request.timeout.ToTimedelta() or None,
            spec.callback_deadline.ToDatetime(UTC) if spec.HasField("callback_deadline") else None,
        )
    )


def _start_time(request: AgentWorkflowInput | WorkflowExecutionInput) -> datetime:
    """Return when the first of the workflow's runs began."""
    if isinstance(request, AgentWorkflowInput) and request.carried.HasField("start_time"):
        return request.carried.start_time.ToDatetime(UTC)
    return workflow.info().workflow_start_time
