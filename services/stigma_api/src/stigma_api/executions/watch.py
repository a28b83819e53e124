"""Streams of watch events: an execution is followed by its history, without any worker."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Generic

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma_api import errors
from stigma_api.errors import ApiError
from stigma_api.executions.history import next_run_id
from stigma_api.executions.model_progress import Written, read_progress
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.executions.run_tails import RunTails
from stigma_api.executions.watch_events import T, WatchEventMapper
from stigma_api.kinds import E, ExecutionKind
from stigma_api.temporal.calls import temporal_call
from stigma_api.temporal.histories import cooperative_iter

_EVENT_ID = re.compile(r"[0-9]{1,18}")
_PART = re.compile(r"[1-9][0-9]{0,8}")
# Temporal answers a long poll after 20 s at the latest.
_LONG_POLL = timedelta(seconds=40)


@dataclass(frozen=True)
class Cursor:
    """A position in an execution: an event of one of its runs."""

    run_id: str
    event_id: int
    part: int = 0
    """The last watch event of several that the event has; 0 for the last of all."""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse a cursor; raises INVALID_ARGUMENT."""
        try:
            content = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise _bad_cursor() from None
        run_id, _, position = content.partition(":")
        event_id, mark, part = position.partition(":")
        if not run_id or not _EVENT_ID.fullmatch(event_id):
            raise _bad_cursor()
        if mark and not _PART.fullmatch(part):
            raise _bad_cursor()
        return cls(run_id, int(event_id), int(part or 0))

    def is_before(self, event: HistoryEvent) -> bool:
        """Return whether watch events of a history event come after this position."""
        return event.event_id > self.event_id or (event.event_id == self.event_id and self.part > 0)

    def __str__(self) -> str:
        part = f":{self.part}" if self.part else ""
        return base64.urlsafe_b64encode(f"{self.run_id}:{self.event_id}{part}".encode()).decode()


class Watching(Generic[E, T]):
    """Follows executions of one kind."""

    def __init__(
        self,
        client: Client,
        kind: ExecutionKind[E],
        reader: Reader[E],
        mapper: Callable[[Client, str, str], WatchEventMapper[T]],
    ) -> None:
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._mapper: Callable[[Client, str, str], WatchEventMapper[T]] = mapper
        self._reader: Reader[E] = reader
        self._tails = RunTails(partial(self._page, wait=True), partial(read_progress, client))

    async def events(
        self, found: ExecutionDescription[E], cursor_text: str, *, with_progress: bool = True
    ) -> AsyncGenerator[T, None]:
        """Yield the events after the cursor, then those to come, up to the end.

        Goes on over every continue-as-new; after a reset in Temporal, in the current run.

        Args:
            found: the execution.
            cursor_text: of an event of it; empty: from the start.
            with_progress: yield also what a model writes, where the start has asked for it.

        Raises:
            ApiError: INVALID_ARGUMENT on `cursor`; UNAVAILABLE, Temporal does not answer, or
                RESOURCE_EXHAUSTED, the watch is far behind: go on later from the last cursor.
        """
        cursor = Cursor.parse(cursor_text) if cursor_text else await self._first_cursor(found)
        if cursor.run_id == found.run_id and cursor.event_id > found.history_length:
            raise _bad_cursor()  # no event of it, which would never be followed by another
        run_id, after, since = cursor.run_id, cursor, 0
        while True:
            mapper = self._mapper(self._client, found.execution_id, found.digest)
            run = _Run(mapper, after, since)
            async with aclosing(self._history(found, run_id, with_progress)) as history:
                async for update in history:
                    for each in await run.map(update):
                        yield each
            last = run.last
            if last.event_id < after.event_id:
                raise _bad_cursor()
            since = mapper.last_mapped_at
            successor, current = await self._next_run(found.execution.id, last)
            if successor == run_id:
                if after.is_before(last):
                    mapped = await mapper.map_end(await self._reader.with_outcome(current))
                    sent = after.part if last.event_id == after.event_id else 0
                    for each in _with_positions(mapped, run_id, last, sent):
                        yield each
                return
            run_id, after = successor, Cursor(successor, 0)

    async def _first_cursor(self, found: ExecutionDescription[E]) -> Cursor:
        """Return a cursor at the start of the first run that Temporal still has."""
        for run_id in (found.first_run_id, found.run_id):
            try:
                await self._page(found.execution.id, run_id, b"", wait=False)
            except ApiError as error:
                if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                    raise
            else:
                return Cursor(run_id, 0)
        raise errors.not_found(f"{self._kind.kind} execution {found.execution.id}")

    async def _history(
        self, found: ExecutionDescription[E], run_id: str, with_progress: bool
    ) -> AsyncGenerator[HistoryEvent | Written, None]:
        """Yield every event of one run, waiting for those to come, until it closes."""
        execution = found.execution
        has_progress = isinstance(execution, AgentExecution) and execution.spec.partial_text
        follow = self._tails.follow(
            execution.id, run_id, with_progress=with_progress and has_progress
        )
        async with aclosing(follow) as updates:
            async for update in updates:
                if isinstance(update, Written):
                    yield update
                    continue
                async for event in cooperative_iter(update):
                    yield event

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

    async def _next_run(
        self, execution_id: str, last: HistoryEvent
    ) -> tuple[str, ExecutionDescription[E]]:
        """Return the run after a closed one, or the current one; and the execution as it is now."""
        current = await self._reader.find(execution_id)
        if current is None:
            raise errors.not_found(f"{self._kind.kind} execution {execution_id}")
        return next_run_id(last) or current.run_id, current


class _Run(Generic[T]):
    """Maps what is read of one run.

    Args:
        mapper: of this run.
        after: the position after which events are wanted.
        since: the time after which they are, in nanoseconds since the epoch.
    """

    def __init__(self, mapper: WatchEventMapper[T], after: Cursor, since: int) -> None:
        self._mapper: WatchEventMapper[T] = mapper
        self._after = after
        self._since = since
        self.last = HistoryEvent()
        """The last event that was mapped."""

    async def map(self, update: HistoryEvent | Written) -> Sequence[T]:
        """Return the watch events of a history event, or of what a model has written since."""
        if isinstance(update, Written):
            return self._map_progress(update)
        after, self.last = self._after, update
        # A reset copies events of the run before: their times tell them apart.
        is_new = after.is_before(update) and update.event_time.ToNanoseconds() > self._since
        mapped = await self._mapper.map(update, is_new=is_new)
        sent = after.part if update.event_id == after.event_id else 0
        return list(_with_positions(mapped, after.run_id, update, sent))

    def _map_progress(self, written: Written) -> Sequence[T]:
        if self.last.event_id < self._after.event_id:
            return []
        mapped = self._mapper.map_progress(written.progress)
        cursor = Cursor(self._after.run_id, self.last.event_id)
        return [_at(each, cursor, written.time) for each in mapped]


def _with_positions(
    mapped: Sequence[T], run_id: str, event: HistoryEvent, sent: int = 0
) -> Iterator[T]:
    """Yield the watch events of a history event but for those that were sent before."""
    for part, watch_event in enumerate(mapped, start=1):
        if part > sent:
            cursor = Cursor(run_id, event.event_id, part if part < len(mapped) else 0)
            yield _at(watch_event, cursor, event.event_time)


def _at(watch_event: T, cursor: Cursor, time: Timestamp) -> T:
    watch_event.cursor = str(cursor)
    watch_event.time.CopyFrom(time)
    return watch_event


def _bad_cursor() -> ApiError:
    problem = "is not of this execution, or too old: watch from the start"
    return errors.invalid_argument([("cursor", problem)])
