"""Has the workflow engine check whether a workflow's document is valid."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import structlog
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.exceptions import TimeoutError as WorkflowTimeoutError

from stigma.contracts import engine
from stigma.contracts.refusals import Refusal, refusal_in
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.temporal.calls import temporal_call

_FIELD = "workflow.spec.document"
_TIMEOUT = timedelta(seconds=10)
# Temporal itself ends what no engine takes up; only its answer may be late.
_SLACK = timedelta(seconds=2)


@workflow.defn(name="validate-document")
class _ValidateDocument:
    """A run of the engine, which is started under any name, that only checks a document."""

    @workflow.run
    async def run(self, request: RawValue) -> Any:
        raise NotImplementedError


class DocumentChecker:
    """Checks documents with the engine of one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._log = structlog.get_logger()

    async def check(self, _principal: Principal, definition: Workflow) -> None:
        """Check that the engine can run the workflow's document.

        Raises:
            ApiError: INVALID_ARGUMENT, with the problem and its place; UNAVAILABLE, no engine
                answered within 10 s.
        """
        await self.check_text(definition.spec.document)

    async def check_text(self, document: str) -> None:
        """Check that the engine can run a document of this text.

        Raises:
            ApiError: as `check`.
        """
        async with temporal_call(_TIMEOUT + _SLACK):
            handle = await self._client.start_workflow(
                _ValidateDocument.run,
                engine.validation_argument(document),
                id=f"validate-{uuid.uuid4().hex}",
                task_queue=self._task_queue,
                execution_timeout=_TIMEOUT,
            )
            try:
                await handle.result()
            except WorkflowFailureError as error:
                raise self._refusal(error.cause) from None

    def _refusal(self, cause: BaseException) -> errors.ApiError:
        if isinstance(cause, ApplicationError) and cause.details:
            problem = cause.details[0]
            if refusal_in(problem) is Refusal.DOCUMENT:
                return errors.invalid_argument(
                    [(_FIELD, str(problem.get("detail", "is not valid")))]
                )
        self._log.warning("document_not_checked", error=type(cause).__name__)
        if isinstance(cause, WorkflowTimeoutError):
            within = f"within {_TIMEOUT.total_seconds():g} s"
            return errors.unavailable(f"no workflow engine checked the document {within}")
        return errors.unavailable("the workflow engine cannot check documents: is it older?")
