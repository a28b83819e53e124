"""The window of a workflow's history that is read: its newest events, and its beginning."""

from __future__ import annotations

from dataclasses import dataclass, replace

from temporalio.api.history.v1 import HistoryEvent
from temporalio.service import RPCError, RPCStatusCode

from stigma_api.executions.history import previous_run_id
from stigma_api.temporal.histories import Histories, Run

MAX_EVENTS = 5000
"""Events read of all runs together."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of those events: one run may hold 50 MB in a few hundred."""

# Events of one page. Whole conversations come with them, also with those beyond the bounds.
_PAGE = 200
# Events before the first model call: acceptance, first attempts, first workflow task.
_FIRST_EVENTS = 20


@dataclass(frozen=True)
class HistorySlice:
    """Events of one run, oldest first; not always all of them."""

    run: Run
    events: list[HistoryEvent]


@dataclass
class _ReadBudget:
    """Events and bytes that may still be read."""

    events: int
    size: int

    def spend(self, event: HistoryEvent) -> None:
        self.events -= 1
        self.size -= event.ByteSize()

    def __bool__(self) -> bool:
        return self.events > 0 and self.size > 0


class HistoryWindow:
    """Reads the runs of workflows, over every continue-as-new."""

    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    async def read(self, newest: Run, first_run_id: str) -> tuple[list[HistorySlice], bool]:
        """Return the slices of a workflow's runs up to one, in order, and whether there is more.

        Reads from the end back, so that a long history is cut at its start; the beginning is read
        in any case.
        """
        slices: list[HistorySlice] = []
        budget, run_id = _ReadBudget(MAX_EVENTS, MAX_BYTES), newest.run_id
        while run_id and budget:
            run = replace(newest, run_id=run_id)
            events = await self._newest(run, budget)
            if not events:
                return slices, True  # past retention
            slices.insert(0, HistorySlice(run, events))
            run_id = previous_run_id(events[0])
        if not run_id and slices[0].events[0].event_id == 1:
            return slices, False
        first = replace(newest, run_id=first_run_id)
        return [*await self._beginning(first, slices[0]), *slices], True

    async def _newest(self, run: Run, budget: _ReadBudget) -> list[HistoryEvent]:
        """Return a run's newest events in order; none for a run that is past retention."""
        events: list[HistoryEvent] = []
        try:
            async for event in self._histories.newest_first(run, _PAGE):
                events.append(event)
                budget.spend(event)
                if not budget:
                    break
        except RPCError as error:
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise
        return events[::-1]

    async def _beginning(self, run: Run, earliest: HistorySlice) -> list[HistorySlice]:
        events: list[HistoryEvent] = []
        try:
            async for event in self._histories.oldest_first(run, _FIRST_EVENTS):
                if run == earliest.run and event.event_id >= earliest.events[0].event_id:
                    break
                # A model call would look open for ever: its end is not read.
                if event.WhichOneof("attributes") in _BEGINNING_EVENTS:
                    events.append(event)
                if event.event_id >= _FIRST_EVENTS:
                    break
        except RPCError as error:
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise
        return [HistorySlice(run, events)]


_BEGINNING_EVENTS = frozenset(
    {
        "workflow_execution_started_event_attributes",
        "workflow_execution_signaled_event_attributes",
        "workflow_task_started_event_attributes",
    }
)
