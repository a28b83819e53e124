"""The engine's run that a workflow execution starts for its document, followed beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.contracts import engine
from stigma_api.executions.cursors import Position, bad_cursor
from stigma_api.executions.followed_workflow import Batch, EventMapper, FollowedWorkflow
from stigma_api.executions.history_pages import HistoryPages
from stigma_api.executions.merged_batches import Source, earliest
from stigma_api.executions.run_tails import RunTails
from stigma_api.temporal.calls import describe
from stigma_api.temporal.histories import CLOSING_EVENTS

T = TypeVar("T")

_BEGINS = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
_LAST_EVENTS = CLOSING_EVENTS | {
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED,
}
"""Events of an execution with which its document is over."""


class DocumentRun(Generic[T]):
    """Follows the run of one execution's document.

    Args:
        client: Temporal's.
        tails: histories that are followed.
        execution_id: of the execution.
        new_mapper: returns a mapper for one of the document's runs.
        cursor: position up to which its watch events are known; None: from its start.
    """

    def __init__(
        self,
        client: Client,
        tails: RunTails,
        execution_id: str,
        *,
        new_mapper: Callable[[], EventMapper[T]],
        cursor: Position | None,
    ) -> None:
        self._client = client
        self._pages = HistoryPages(client)
        self._workflow_id = engine.run_id(execution_id)
        self._cursor = cursor
        self._last: HistoryEvent | None = None
        self._workflow: FollowedWorkflow[T] = FollowedWorkflow(
            tails, self._workflow_id, new_mapper=new_mapper, current_run=self._current_run
        )

    async def beside(self, own: Source[T]) -> AsyncGenerator[tuple[bool, Batch[T]], None]:
        """Yield the batches of an execution and of its document, up to the execution's end.

        Args:
            own: of the execution.

        Yields:
            Whether it is the document's, and the batch.

        Raises:
            ApiError: as following either.
        """
        sources = [own]
        try:
            while True:
                source, batch = await earliest(sources)
                if source is own and len(sources) > 1 and self._is_last(batch):
                    # Whatever the document has done before comes first.
                    await self._note_newest()
                    continue
                source.take()
                if batch is not None:
                    yield source is not own, batch
                    if source is own and len(sources) == 1:
                        sources += await self._started(batch)
                    continue
                sources.remove(source)
                await source.close()
                if source is own:
                    return
                # A reset of the execution has the start of the run in its history once more.
                self._cursor = self._workflow.at
        finally:
            for each in sources:
                await each.close()

    def _is_last(self, batch: Batch[T] | None) -> bool:
        """Return whether the document is over with a batch of the execution; once for each."""
        source = batch.source if batch is not None else None
        if source is None or source.event_type not in _LAST_EVENTS or source is self._last:
            return False
        self._last = source
        return True

    async def _started(self, batch: Batch[T]) -> list[Source[T]]:
        """Return the source of the run that begins with a batch of the execution, if any."""
        event = batch.source
        if event is None or event.event_type != _BEGINS:
            return []
        begun = event.child_workflow_execution_started_event_attributes.workflow_execution
        if begun.workflow_id != self._workflow_id:
            return []
        newest = await self._note_newest()
        start, self._cursor = self._cursor, None
        if start is None:
            # The first run may be past retention.
            run_ids = begun.run_id, *([newest.run_id] if newest else [])
            start = await self._pages.first_position(self._workflow_id, run_ids)
        elif newest and start.run_id == newest.run_id and start.event_id > newest.event_id:
            raise bad_cursor()  # no event of it, which would never be followed by another
        return [Source(self._workflow, start)] if start else []

    async def _note_newest(self) -> Position | None:
        """Take note of the newest event that there is, and return it; None: the runs are gone."""
        newest = await self._newest()
        if newest is not None:
            self._workflow.note(newest)
        return newest

    async def _newest(self) -> Position | None:
        described = await describe(self._client, self._workflow_id)
        if described is None:
            return None
        info = described.workflow_execution_info
        return Position(info.execution.run_id, info.history_length)

    async def _current_run(self) -> str:
        newest = await self._newest()
        return newest.run_id if newest else ""
