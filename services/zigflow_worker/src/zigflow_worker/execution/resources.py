"""Documents that a run needs before its first task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from stigma.contracts import engine_calls, engine_summaries
from stigma.contracts.engine_calls import CallActivities, CallRequest
from zigflow_worker.errors import CONFIGURATION, WorkflowError
from zigflow_worker.program.effects import error_of
from zigflow_worker.program.model import ResourceReference


async def fetch_resources(references: Iterable[ResourceReference]) -> dict[str, str]:
    """Return documents as JSON text by URI, each fetched once.

    Raises:
        WorkflowError: one cannot be had; its `instance` is the place that refers to it.
        CancelledError: the run was cancelled.
    """
    texts: dict[str, str] = {}
    for reference in references:
        if reference.uri not in texts:
            texts[reference.uri] = await _fetch(reference)
            if (
                sum(len(text.encode()) for text in texts.values())
                > engine_calls.MAX_RESOURCES_BYTES
            ):
                detail = (
                    f"a run's schemas may have {engine_calls.MAX_RESOURCES_BYTES} bytes together"
                )
                raise WorkflowError.of(CONFIGURATION, detail, reference.pointer)
    return texts


async def _fetch(reference: ResourceReference) -> str:
    request = CallRequest(
        reference=reference.pointer,
        arguments={"resource": {"endpoint": reference.uri}},
        authentication=reference.authentication,
        deferred=reference.deferred,
        secrets=reference.secrets,
    )
    try:
        result = await workflow.execute_activity_method(
            CallActivities.fetch_resource,
            request,
            start_to_close_timeout=engine_calls.FETCH_TIMEOUT + engine_calls.CALL_TIMEOUT_SLACK,
            heartbeat_timeout=engine_calls.CALL_HEARTBEAT_TIMEOUT,
            retry_policy=engine_calls.CALL_RETRIES,
            summary=engine_summaries.call_summary(reference.pointer),
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from None
        problem = error_of(error).problem
        raise WorkflowError({**problem, "instance": reference.pointer}) from None
    return str(result.output)
