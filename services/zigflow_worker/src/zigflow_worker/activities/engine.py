"""The engine's own activities, served from a directory of documents."""

from __future__ import annotations

import asyncio

from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from stigma.contracts.refusals import Refusal
from zigflow_worker.activities.document_directory import DocumentDirectory, UnknownDocumentError
from zigflow_worker.activities.interfaces import (
    END_ACTIVATION,
    RESOLVE_DEFINITION,
    EngineActivities,
)


class DocumentActivities(EngineActivities):
    """Finds documents by name, and lets activations end."""

    def __init__(self, documents: DocumentDirectory) -> None:
        self._documents = documents

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
