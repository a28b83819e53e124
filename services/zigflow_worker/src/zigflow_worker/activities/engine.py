"""The engine's own activities, served from a directory of documents."""

from __future__ import annotations

import asyncio

import structlog
from temporalio import activity
from temporalio.client import AsyncActivityHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from stigma.contracts.engine_calls import WAIT_EXACTLY
from stigma.contracts.refusals import Refusal
from zigflow_worker.activities.document_directory import DocumentDirectory, UnknownDocumentError
from zigflow_worker.activities.interfaces import (
    END_ACTIVATION,
    RECORD_PLAN,
    RESOLVE_DEFINITION,
    EngineActivities,
)


class DocumentActivities(EngineActivities):
    """Finds documents by name, and lets activations end."""

    def __init__(self, documents: DocumentDirectory) -> None:
        self._documents = documents
        self._waits: set[asyncio.Task[None]] = set()

    @override
    @activity.defn(name=RESOLVE_DEFINITION)
    async def resolve_definition(self, workflow_type: str) -> str:
        try:
            return await asyncio.to_thread(self._documents.text_of, workflow_type)
        except UnknownDocumentError as error:
            raise ApplicationError(
                str(error), type=str(Refusal.UNKNOWN_DOCUMENT), non_retryable=True
            ) from None

    @override
    @activity.defn(name=END_ACTIVATION)
    async def end_activation(self) -> None:
        pass

    @override
    @activity.defn(name=RECORD_PLAN)
    async def record_plan(self, turns: int) -> int:
        return turns

    @override
    @activity.defn(name=WAIT_EXACTLY)
    async def wait_exactly(self, seconds: float) -> None:
        handle = activity.client().get_async_activity_handle(task_token=activity.info().task_token)
        wait = asyncio.create_task(_complete_after(seconds, handle))
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)
        activity.raise_complete_async()


async def _complete_after(seconds: float, handle: AsyncActivityHandle) -> None:
    await asyncio.sleep(seconds)
    try:
        await handle.complete()
    except RPCError as error:
        # Its run may have ended. Where Temporal did not answer, the wait's timeout repeats it.
        if error.status != RPCStatusCode.NOT_FOUND:
            structlog.get_logger().warning("wait_not_completed", code=error.status.name)
