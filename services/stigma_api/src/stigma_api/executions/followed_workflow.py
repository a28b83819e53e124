"""Workflows as they go on: the watch events of their histories, over all of their runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import HistoryEvent

from stigma.agent.v1.agent_execution_service_pb2 import ModelProgress
from stigma_api.executions.cursors import Position, bad_cursor
from stigma_api.executions.history import next_run_id
from stigma_api.executions.model_progress import Written
from stigma_api.executions.run_tails import RunTails
from stigma_api.temporal.histories import RUN_ENDS, cooperative_iter

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class EventMapper(Protocol[T_co]):
    """Maps the events of one run, in order."""

    last_mapped_at: int
    """Time of the last history event that was mapped, in nanoseconds since the epoch."""

    async def map(self, event: HistoryEvent, *, is_new: bool = True) -> Sequence[T_co]:
        """Return the watch events of a history event; none where that is not new."""

    def map_progress(self, progress: ModelProgress) -> Sequence[T_co]:
        """Return the watch events of what a model has written."""


@dataclass(frozen=True)
class Batch(Generic[T]):
    """The watch events of one history event, often none, or of what a model has written."""

    time: Timestamp
    events: Sequence[tuple[Position, T]]
    """Each with its position."""
    source: HistoryEvent | None
    """The history event; None: what a model has written is in none."""


class FollowedWorkflow(Generic[T]):
    """Follows one workflow.

    Args:
        tails: its histories.
        workflow_id: of the workflow.
        new_mapper: returns a mapper for a run.
        current_run: returns its current run; empty for a workflow that is gone.
        map_end: returns the watch events of its end, once its last run has ended.
        with_progress: follow also what its model writes.
    """

    def __init__(
        self,
        tails: RunTails,
        workflow_id: str,
        *,
        new_mapper: Callable[[], EventMapper[T]],
        current_run: Callable[[], Awaitable[str]],
        map_end: Callable[[], Awaitable[Sequence[T]]] | None = None,
        with_progress: bool = False,
    ) -> None:
        self._tails = tails
        self._workflow_id = workflow_id
        self._new_mapper: Callable[[], EventMapper[T]] = new_mapper
        self._current_run = current_run
        self._map_end: Callable[[], Awaitable[Sequence[T]]] | None = map_end
        self._with_progress = with_progress
        self._known: Position | None = None
        """The newest event that there is, as far as is known, until it was passed."""
        self.at = Position("", 0)
        """The event that was passed last."""
        self.has_more = False
        """Whether the next batch is there, as far as is known; else it has yet to happen."""

    def note(self, newest: Position) -> None:
        """Take note of the newest event that there is."""
        self._known = newest
        self.has_more = not self._is_reached(newest)

    async def batches(self, start: Position) -> AsyncGenerator[Batch[T], None]:
        """Yield a batch for every event of the runs from one on, those to come included.

        Goes on over every continue-as-new; after a reset in Temporal, in the current run. Those up
        to the start have no watch events.

        Raises:
            ApiError: INVALID_ARGUMENT on `cursor`; UNAVAILABLE, Temporal does not answer, or
                RESOURCE_EXHAUSTED, too far behind others who follow it.
        """
        after, since = start, 0
        while True:
            mapper = self._new_mapper()
            run = _Run(mapper, after, since)
            follow = self._tails.follow(
                self._workflow_id, after.run_id, with_progress=self._with_progress
            )
            async with aclosing(follow) as updates:
                async for update in updates:
                    if isinstance(update, Written):
                        yield run.map_progress(update)
                        continue
                    async for event in cooperative_iter(update):
                        batch = await run.map(event)
                        self._pass(Position(after.run_id, event.event_id), event)
                        yield batch
            if run.last.event_id < after.event_id:
                raise bad_cursor()
            since = mapper.last_mapped_at
            successor = next_run_id(run.last) or await self._current_run()
            if successor in {after.run_id, ""}:
                if self._map_end is not None and after.is_before(run.last):
                    yield _batch(await self._map_end(), after, run.last)
                return
            after = Position(successor, 0)

    def _pass(self, at: Position, event: HistoryEvent) -> None:
        self.at = at
        if self._known is not None and self._is_reached(self._known):
            self._known = None  # nothing is known of the runs after it
        # After the end of a run comes the next run, or the workflow's end.
        self.has_more = event.event_type in RUN_ENDS or self._known is not None

    def _is_reached(self, known: Position) -> bool:
        return self.at.run_id == known.run_id and self.at.event_id >= known.event_id


class _Run(Generic[T]):
    """Maps what is read of one run.

    Args:
        mapper: of this run.
        after: the position after which events are wanted.
        since: the time after which they are, in nanoseconds since the epoch.
    """

    def __init__(self, mapper: EventMapper[T], after: Position, since: int) -> None:
        self._mapper: EventMapper[T] = mapper
        self._after = after
        self._since = since
        self.last = HistoryEvent()
        """The last event that was mapped."""

    async def map(self, event: HistoryEvent) -> Batch[T]:
        """Return the watch events of a history event."""
        after, self.last = self._after, event
        # A reset copies events of the run before: their times tell them apart.
        is_new = after.is_before(event) and event.event_time.ToNanoseconds() > self._since
        return _batch(await self._mapper.map(event, is_new=is_new), after, event)

    def map_progress(self, written: Written) -> Batch[T]:
        """Return the watch events of what a model has written since."""
        mapped: Sequence[T] = []
        if self.last.event_id >= self._after.event_id:
            mapped = self._mapper.map_progress(written.progress)
        position = Position(self._after.run_id, self.last.event_id)
        return Batch(written.time, [(position, each) for each in mapped], None)


def _batch(mapped: Sequence[T], after: Position, event: HistoryEvent) -> Batch[T]:
    """Return the batch of a history event, without what was sent before.

    Args:
        mapped: all watch events of it.
        after: the position in its run after which they are wanted.
        event: the history event.
    """
    sent = after.part if event.event_id == after.event_id else 0
    events = []
    for part, each in enumerate(mapped, start=1):
        if part > sent:
            position = Position(after.run_id, event.event_id, part if part < len(mapped) else 0)
            events.append((position, each))
    return Batch(event.event_time, events, event)
