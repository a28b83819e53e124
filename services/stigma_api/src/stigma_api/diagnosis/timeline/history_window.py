"""What is read of an execution's own runs: the newest events, and the beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.histories import Histories, Run

MAX_EVENTS = 5000
"""Events read of all runs together."""

MAX_BYTES = 32 * 1024 * 1024
"""Of those events: one run may hold 50 MB in a few hundred."""

# Events asked for at once. Whole conversations come with them, also with those beyond the bounds.
_PAGE = 200
# What comes before the first model call: acceptance, first attempts, first workflow task.
_BEGINNING = 20


@dataclass(frozen=True)
class Part:
    """Events of one run, oldest first; not always all of them."""

    run: Run
    events: list[HistoryEvent]


@dataclass
class _Room:
    """How much may still be read."""

    events: int
    size: int

    def take(self, event: HistoryEvent) -> None:
        self.events -= 1
        self.size -= event.ByteSize()

    def __bool__(self) -> bool:
        return self.events > 0 and self.size > 0


class OwnRuns:
    """Reads the runs of executions, over every continue-as-new."""

    def __init__(self, client: Client, histories: Histories) -> None:
        self._client = client
        self._histories = histories

    async def parts(self, subject: ExecutionDescription[Any]) -> tuple[list[Part], bool]:
        """Return what is read of its runs, in order, and whether there is more.

        From the end back, so that of a long story the newest part is read; its beginning is read
        in any case.
        """
        parts: list[Part] = []
        room, run_id = _Room(MAX_EVENTS, MAX_BYTES), subject.run_id
        while run_id and room:
            run = self._run(subject, run_id)
            events = await self._newest(run, room)
            if not events:
                return parts, True  # past retention
            parts.insert(0, Part(run, events))
            run_id = _continued(events[0])
        if not run_id and parts[0].events[0].event_id == 1:
            return parts, False
        return [*await self._beginning(subject, parts[0]), *parts], True

    async def _newest(self, run: Run, room: _Room) -> list[HistoryEvent]:
        """Return a run's newest events in order; none for a run that is past retention."""
        events: list[HistoryEvent] = []
        try:
            async for event in self._histories.newest_first(run, _PAGE):
                events.append(event)
                room.take(event)
                if not room:
                    break
        except RPCError as error:
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise
        return events[::-1]

    async def _beginning(self, subject: ExecutionDescription[Any], earliest: Part) -> list[Part]:
        run = self._run(subject, subject.first_run_id)
        events: list[HistoryEvent] = []
        try:
            async for event in self._histories.oldest_first(run, _BEGINNING):
                if run == earliest.run and event.event_id >= earliest.events[0].event_id:
                    break
                # What goes on from there is not read, so that it must not look as if it did.
                if event.WhichOneof("attributes") in _OF_BEGINNING:
                    events.append(event)
                if event.event_id >= _BEGINNING:
                    break
        except RPCError as error:
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise
        return [Part(run, events)]

    def _run(self, subject: ExecutionDescription[Any], run_id: str) -> Run:
        return Run(self._client.namespace, subject.execution_id, run_id)


def _continued(first: HistoryEvent) -> str:
    """Return the run before the one that begins with this event, if it begins with it."""
    return first.workflow_execution_started_event_attributes.continued_execution_run_id


_OF_BEGINNING = frozenset(
    {
        "workflow_execution_started_event_attributes",
        "workflow_execution_signaled_event_attributes",
        "workflow_task_started_event_attributes",
    }
)
