"""Calls to Temporal with a timeout, their errors as the API's."""

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
"""Timeout of one call to Temporal, the SDK's own retries included."""

MAX_ID_BYTES = 1000
"""Limit of Temporal's ids."""

_RETRY_AFTER = timedelta(seconds=1)
_TRANSIENT = frozenset(
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
async def temporal_call(timeout: timedelta = TEMPORAL_TIMEOUT) -> AsyncIterator[None]:
    """Give the calls inside a timeout, and turn Temporal's failures into API errors.

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
        if error.status not in _TRANSIENT:
            raise
        structlog.get_logger().warning("temporal_failed", code=error.status.name)
        raise errors.unavailable(f"Temporal does not answer: {error.status.name}") from error


async def request_cancel(client: Client, workflow_id: str, reason: str) -> bool:
    """Request the cancel of a workflow; return False when it has closed meanwhile.

    Raises:
        ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED.
    """
    try:
        async with temporal_call():
            await client.get_workflow_handle(workflow_id).cancel(reason=reason)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def describe(
    client: Client, workflow_id: str, run_id: str = ""
) -> DescribeWorkflowExecutionResponse | None:
    """Return the description of a workflow's run, by default the current one; None without any.

    Raises:
        ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED.
    """
    if len(workflow_id.encode()) > MAX_ID_BYTES:
        return None  # Temporal would not answer
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
    )
    try:
        async with temporal_call():
            return await client.workflow_service.describe_workflow_execution(request, retry=True)
    except RPCError as error:
        if error.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
            return None
        raise
