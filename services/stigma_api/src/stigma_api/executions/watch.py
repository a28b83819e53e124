"""Follows one execution by reading its history: nothing is lost, and no worker is involved."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma_api import errors
from stigma_api.errors import ApiError
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.executions.watch_events import Narrator, T
from stigma_api.kinds import E, ExecutionKind
from stigma_api.temporal.calls import temporal_call
from stigma_api.temporal.histories import cooperative_iter

# Temporal answers a long poll after 20 s at the latest.
_LONG_POLL = timedelta(seconds=40)


@dataclass(frozen=True)
class Cursor:
    """A place in an execution: an event of one of its runs."""

    run_id: str
    event_id: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor; raises INVALID_ARGUMENT for what is none."""
        try:
            content = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
            run_id, _, event_id = content.partition(":")
            return cls(run_id, int(event_id))
        except (binascii.Error, ValueError):
            raise _bad_cursor() from None

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.run_id}:{self.event_id}".encode()).decode()


class Watching(Generic[E, T]):
    """Turns histories of one kind of executions into events."""

    def __init__(
        self,
        client: Client,
        kind: ExecutionKind[E],
        reader: Reader[E],
        narrator: Callable[[Client], Narrator[T]],
    ) -> None:
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._narrator: Callable[[Client], Narrator[T]] = narrator
        self._reader: Reader[E] = reader

    async def events(self, found: ExecutionDescription[E], cursor_text: str) -> AsyncIterator[T]:
        """Yield what happened after the cursor, then what happens, up to the end.

        Goes on over every continue-as-new; after a reset in Temporal, in the current run.

        Raises:
            ApiError: INVALID_ARGUMENT on `cursor`; UNAVAILABLE when Temporal does not answer:
                go on later from the last cursor.
        """
        cursor = Cursor.parse(cursor_text) if cursor_text else await self._begin(found)
        run_id, after, since = cursor.run_id, cursor.event_id, 0
        while True:
            narrator, last = self._narrator(self._client), HistoryEvent()
            async for event in self._history(found.execution.id, run_id):
                # A reset copies what came before it: old news, by the time it happened.
                is_news = event.event_id > after and _moment(event) > since
                told, last = await narrator.tell(event, is_news=is_news), event
                if told is not None:
                    yield _placed(told, run_id, event)
            since = narrator.told_at
            successor, current = await self._after(found.execution.id, last)
            if successor == run_id:
                if last.event_id > after:
                    ended = narrator.ended(await self._reader.with_outcome(current))
                    yield _placed(ended, run_id, last)
                return
            run_id, after = successor, 0

    async def _begin(self, found: ExecutionDescription[E]) -> Cursor:
        """Return the start of the first run that Temporal still has."""
        for run_id in (found.first_run_id, found.run_id):
            try:
                await self._page(found.execution.id, run_id, b"", wait=False)
            except ApiError as error:
                if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                    raise
            else:
                return Cursor(run_id, 0)
        raise errors.not_found(f"{self._kind.kind} execution {found.execution.id}")

    async def _history(self, execution_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
        """Yield every event of one run, waiting for those to come, until it closes."""
        token = b""
        while True:
            reply = await self._page(execution_id, run_id, token, wait=True)
            async for event in cooperative_iter(reply.history.events):
                yield event
            token = reply.next_page_token
            if not token:
                return

    async def _page(
        self, execution_id: str, run_id: str, token: bytes, *, wait: bool
    ) -> GetWorkflowExecutionHistoryResponse:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self._client.namespace,
            execution=WorkflowExecution(workflow_id=execution_id, run_id=run_id),
            next_page_token=token,
            wait_new_event=wait,
            skip_archival=True,
        )
        try:
            async with temporal_call(_LONG_POLL):
                return await self._client.workflow_service.get_workflow_execution_history(
                    request, retry=True, timeout=_LONG_POLL
                )
        except RPCError as error:
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise
            raise _bad_cursor() from None

    async def _after(
        self, execution_id: str, last: HistoryEvent
    ) -> tuple[str, ExecutionDescription[E]]:
        """Return the run after a closed one, or itself when there is none; and what is now."""
        current = await self._reader.find(execution_id)
        if current is None:
            raise errors.not_found(f"{self._kind.kind} execution {execution_id}")
        continued = last.workflow_execution_continued_as_new_event_attributes
        return continued.new_execution_run_id or current.run_id, current


def _placed(told: T, run_id: str, event: HistoryEvent) -> T:
    told.cursor = str(Cursor(run_id, event.event_id))
    told.time.CopyFrom(event.event_time)
    return told


def _moment(event: HistoryEvent) -> int:
    return event.event_time.ToNanoseconds()


def _bad_cursor() -> ApiError:
    problem = "is not of this execution, or too old: watch from the start"
    return errors.invalid_argument([("cursor", problem)])
