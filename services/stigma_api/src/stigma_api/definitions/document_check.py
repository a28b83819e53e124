"""Has the workflow engine check whether a workflow's document is valid."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
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
from stigma_api.requests.violations import Violations
from stigma_api.temporal.calls import temporal_call

_FIELD = "workflow.spec.document"
_INVALID = "the document is not valid: "
TIMEOUT = timedelta(seconds=10)
REFUSED_TIMEOUT = timedelta(seconds=2)
"""Of the check of what is refused in any case, for what else is wrong with it."""
# Temporal itself ends what no engine takes up; only its answer may be late.
_SLACK = timedelta(seconds=2)


@workflow.defn(name="validate-document")
class _ValidateDocument:
    """A run of the engine, which is started under any name, that only checks a document."""

    @workflow.run
    async def run(self, request: RawValue) -> Any:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class DocumentProblem:
    """One thing that is wrong with a document.

    Line and column count from 1; 0: of an older engine, which tells them in the message.
    """

    line: int
    column: int
    pointer: str
    message: str

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}: {self.pointer or '/'}: "
        return f"{place if self.line else ''}{self.message}"


class DocumentChecker:
    """Checks documents with the engine of one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._log = structlog.get_logger()

    async def check(self, _principal: Principal, definition: Workflow, found: Violations) -> None:
        """Add what keeps the engine from running the workflow's document.

        Raises:
            ApiError: UNAVAILABLE, no engine answered in time.
        """
        if found.has(_FIELD):
            return
        timeout = REFUSED_TIMEOUT if found else TIMEOUT
        problems = await self.problems_of(definition.spec.document, timeout)
        for index, problem in enumerate(problems):
            found.add(_FIELD, f"{'' if index else _INVALID}{problem}")

    async def problems_of(self, document: str, timeout: timedelta) -> list[DocumentProblem]:
        """Return what keeps the engine from running a document of this text.

        All that can be known is told, up to what the engine lists.

        Raises:
            ApiError: UNAVAILABLE, no engine answered in time.
        """
        async with temporal_call(timeout + _SLACK):
            handle = await self._client.start_workflow(
                _ValidateDocument.run,
                engine.validation_argument(document),
                id=f"validate-{uuid.uuid4().hex}",
                task_queue=self._task_queue,
                execution_timeout=timeout,
            )
            try:
                await handle.result()
            except WorkflowFailureError as error:
                return self._problems(error.cause, timeout)
        return []

    def _problems(self, cause: BaseException, timeout: timedelta) -> list[DocumentProblem]:
        if isinstance(cause, ApplicationError) and cause.details:
            failure = cause.details[0]
            if refusal_in(failure) is Refusal.DOCUMENT:
                return _problems_in(failure)
        self._log.warning("document_not_checked", error=type(cause).__name__)
        if isinstance(cause, WorkflowTimeoutError):
            within = f"within {timeout.total_seconds():g} s"
            raise errors.unavailable(f"no workflow engine checked the document {within}")
        raise errors.unavailable("the workflow engine cannot check documents: is it older?")


def _problems_in(failure: Mapping[str, Any]) -> list[DocumentProblem]:
    problems = failure.get(engine.PROBLEMS_KEY)
    if not problems:  # of an engine before 0.3.0
        detail = str(failure.get("detail", "is not valid"))
        return [DocumentProblem(0, 0, "", detail.removeprefix(_INVALID))]
    return [
        DocumentProblem(
            int(each["line"]), int(each["column"]), str(each["pointer"]), str(each["message"])
        )
        for each in problems
    ]
