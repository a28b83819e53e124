"""The API's bounded way to Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma_api import errors

TEMPORAL_TIMEOUT = timedelta(seconds=5)
"""Longest time one step of an RPC waits for Temporal, the SDK's own retries included."""

MAX_ID_BYTES = 1000
"""What Temporal takes for an id."""

_RETRY_AFTER = timedelta(seconds=1)
_PASSING = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.INTERNAL,
    }
)


@asynccontextmanager
async def answering(timeout: timedelta = TEMPORAL_TIMEOUT) -> AsyncIterator[None]:
    """Bound what is inside, and turn Temporal's trouble into ours.

    Errors that mean something to the call (NOT_FOUND, INVALID_ARGUMENT, …) pass unchanged.

    Raises:
        ApiError: UNAVAILABLE when Temporal does not answer, RESOURCE_EXHAUSTED when it limits us.
    """
    try:
        async with asyncio.timeout(timeout.total_seconds()) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise errors.unavailable(
            f"Temporal does not answer within {timeout.total_seconds():g} s"
        ) from None
    except RPCError as error:
        if error.status == RPCStatusCode.RESOURCE_EXHAUSTED:
            raise errors.resource_exhausted(
                "Temporal limits the rate of calls", _RETRY_AFTER
            ) from error
        if error.status not in _PASSING:
            raise
        structlog.get_logger().warning("temporal_failed", code=error.status.name)
        raise errors.unavailable(f"Temporal does not answer: {error.status.name}") from error


async def request_cancel(client: Client, workflow_id: str, reason: str) -> bool:
    """Request the cancel of a workflow; return False when it has closed meanwhile.

    Raises:
        ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED.
    """
    try:
        async with answering():
            await client.get_workflow_handle(workflow_id).cancel(reason=reason)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def describe(
    client: Client, workflow_id: str, run_id: str = ""
) -> DescribeWorkflowExecutionResponse | None:
    """Return what Temporal knows of a workflow's run, else the current one; None without any.

    Raises:
        ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED.
    """
    if len(workflow_id.encode()) > MAX_ID_BYTES:
        return None  # Temporal would not even answer
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
    )
    try:
        async with answering():
            return await client.workflow_service.describe_workflow_execution(request, retry=True)
    except RPCError as error:
        if error.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
            return None
        raise
