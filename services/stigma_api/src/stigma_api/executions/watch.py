"""Streams of watch events: an execution is followed by its history, without any worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Generic

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma_api import errors
from stigma_api.executions.cursors import Cursor, Position, bad_cursor
from stigma_api.executions.document_run import DocumentRun
from stigma_api.executions.followed_workflow import Batch, EventMapper, FollowedWorkflow
from stigma_api.executions.history_pages import HistoryPages
from stigma_api.executions.merged_batches import Source
from stigma_api.executions.model_progress import read_progress
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.executions.run_tails import RunTails
from stigma_api.executions.watch_events import T, WatchEventMapper
from stigma_api.kinds import E, ExecutionKind


class Watching(Generic[E, T]):
    """Follows executions of one kind.

    Args:
        client: Temporal's.
        kind: of the executions.
        reader: reads them.
        mapper: maps the events of a run of theirs.
        document_mapper: maps the events of the engine's run that they start; None: they start none.
    """

    def __init__(
        self,
        client: Client,
        kind: ExecutionKind[E],
        reader: Reader[E],
        mapper: Callable[[Client, str, str], WatchEventMapper[T]],
        document_mapper: Callable[[Client], EventMapper[T]] | None = None,
    ) -> None:
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._mapper: Callable[[Client, str, str], WatchEventMapper[T]] = mapper
        self._document_mapper: Callable[[Client], EventMapper[T]] | None = document_mapper
        self._reader: Reader[E] = reader
        self._pages = HistoryPages(client)
        self._tails = RunTails(self._pages.next, partial(read_progress, client))

    async def events(
        self, found: ExecutionDescription[E], cursor_text: str, *, with_progress: bool = True
    ) -> AsyncGenerator[T, None]:
        """Yield the events after the cursor, then those to come, up to the end.

        Goes on over every continue-as-new; after a reset in Temporal, in the current run. The calls
        and timers of a document are among them.

        Args:
            found: the execution.
            cursor_text: of an event of it; empty: from the start.
            with_progress: yield also what a model writes, where the start has asked for it.

        Raises:
            ApiError: INVALID_ARGUMENT on `cursor`; UNAVAILABLE, Temporal does not answer, or
                RESOURCE_EXHAUSTED, the watch is far behind: go on later from the last cursor.
        """
        cursor = Cursor.parse(cursor_text) if cursor_text else await self._first_cursor(found)
        if cursor.own.run_id == found.run_id and cursor.own.event_id > found.history_length:
            raise bad_cursor()  # no event of it, which would never be followed by another
        async with aclosing(self._batches(found, cursor, with_progress)) as batches:
            async for is_document, batch in batches:
                for position, event in batch.events:
                    if is_document:
                        cursor = replace(cursor, document=position)
                    else:
                        cursor = replace(cursor, own=position)
                    yield _at(event, cursor, batch.time)

    async def _first_cursor(self, found: ExecutionDescription[E]) -> Cursor:
        """Return a cursor at the start of the first run that Temporal still has."""
        run_ids = found.first_run_id, found.run_id
        position = await self._pages.first_position(found.execution.id, run_ids)
        if position is None:
            raise errors.not_found(f"{self._kind.kind} execution {found.execution.id}")
        return Cursor(position)

    async def _batches(
        self, found: ExecutionDescription[E], cursor: Cursor, with_progress: bool
    ) -> AsyncGenerator[tuple[bool, Batch[T]], None]:
        """Yield the batches of an execution and of its document, and whether they are of that."""
        workflow = self._followed(found, with_progress)
        if self._document_mapper is None:
            async with aclosing(workflow.batches(cursor.own)) as batches:
                async for batch in batches:
                    yield False, batch
            return
        document = DocumentRun(
            self._client,
            self._tails,
            found.execution_id,
            new_mapper=partial(self._document_mapper, self._client),
            cursor=cursor.document,
        )
        async with aclosing(document.beside(Source(workflow, cursor.own))) as merged:
            async for each in merged:
                yield each

    def _followed(self, found: ExecutionDescription[E], with_progress: bool) -> FollowedWorkflow[T]:
        execution = found.execution
        has_progress = isinstance(execution, AgentExecution) and execution.spec.partial_text
        runs = _Runs(
            self._reader, found, partial(self._mapper, self._client, execution.id, found.digest)
        )
        workflow = FollowedWorkflow(
            self._tails,
            execution.id,
            new_mapper=runs.new_mapper,
            current_run=runs.current_run,
            map_end=runs.map_end,
            with_progress=with_progress and has_progress,
        )
        workflow.note(Position(found.run_id, found.history_length))
        return workflow


class _Runs(Generic[E, T]):
    """The runs of an execution, one after the other, and its end.

    Args:
        reader: reads it.
        found: the execution.
        mapper: returns a mapper for one of its runs.
    """

    def __init__(
        self,
        reader: Reader[E],
        found: ExecutionDescription[E],
        mapper: Callable[[], WatchEventMapper[T]],
    ) -> None:
        self._reader: Reader[E] = reader
        self._found: ExecutionDescription[E] = found
        self._new_mapper: Callable[[], WatchEventMapper[T]] = mapper
        self._mapper: WatchEventMapper[T] = mapper()

    def new_mapper(self) -> WatchEventMapper[T]:
        """Return a mapper for the next run."""
        self._mapper = self._new_mapper()
        return self._mapper

    async def current_run(self) -> str:
        """Return the execution's current run."""
        execution_id = self._found.execution.id
        current = await self._reader.find(execution_id)
        if current is None:
            raise errors.not_found(f"{self._found.kind.kind} execution {execution_id}")
        self._found = current
        return current.run_id

    async def map_end(self) -> Sequence[T]:
        """Return the watch events of the end of the current run, which is the execution's."""
        return await self._mapper.map_end(await self._reader.with_outcome(self._found))


def _at(watch_event: T, cursor: Cursor, time: Timestamp) -> T:
    watch_event.cursor = str(cursor)
    watch_event.time.CopyFrom(time)
    return watch_event
