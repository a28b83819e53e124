"""The engine's own activities."""

import asyncio

from temporalio import activity
from temporalio.exceptions import ApplicationError

from stigma.contracts.refusals import Refusal
from zigflow_worker.documents import DocumentDirectory, UnknownDocumentError


class EngineActivities:
    """Finds documents by name, and lets activations end."""

    def __init__(self, documents: DocumentDirectory) -> None:
        self._documents = documents

    @activity.defn(name="resolve_definition")
    async def resolve_definition(self, workflow_type: str) -> str:
        """Return the text of the document with this name, or namespace.name.

        Its being an activity's result keeps a run on the text it began with.
        """
        try:
            return await asyncio.to_thread(self._documents.text_of, workflow_type)
        except UnknownDocumentError as error:
            raise ApplicationError(
                str(error), type=str(Refusal.UNKNOWN_DOCUMENT), non_retryable=True
            ) from None

    @activity.defn(name="yield")
    async def end_activation(self) -> None:
        """Do nothing: while a workflow waits for it, its worker thread serves others."""
