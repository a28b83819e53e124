"""Executions that say nothing for a while: a note says what they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_PENDING, AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionResponse
from stigma.contracts.executions import Execution, Kind
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    TIMELINE_STEP_DOCUMENT_CALL,
    TIMELINE_STEP_DOCUMENT_TIMER,
    ExecutionTimeline,
    GetExecutionTimelineRequest,
)
from stigma_cli.connections import Api
from stigma_cli.errors import CliError
from stigma_cli.execution_calls import Event, events, get_execution
from stigma_cli.output import print_note
from stigma_cli.stuck import find_stuck, wrong

# Seconds without an event, each counted from the last look.
# The third finds workers that have been there: their queue is known to be left after a while.
_LOOKS = (2.0, 8.0, 20.0, 120.0)
_MAX_LOOKS = 100
_MAX_CALLS = 3


async def noted_events(
    api: Api, execution_id: str, cursor: str = "", *, is_known: bool = True
) -> AsyncIterator[Event]:
    """Yield the events of an execution, and print what it waits for when none comes for a while.

    That is its turn in a session, what a call of its document is at, or a worker that nobody has
    started, as `stigma doctor` finds it.

    Raises:
        CliError: as `events`.
    """
    stream = events(api, execution_id, cursor, is_known=is_known)
    notes = _Notes(api, execution_id)
    upcoming = asyncio.ensure_future(_next(stream))
    try:
        while True:
            await asyncio.wait([upcoming], timeout=notes.next_look)
            if not upcoming.done():
                await notes.look()
                continue
            event = upcoming.result()
            if event is None:
                return
            notes.see(event)
            yield event
            upcoming = asyncio.ensure_future(_next(stream))
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)


class _Notes:
    """Prints notes about one execution, each once."""

    def __init__(self, api: Api, execution_id: str) -> None:
        self._api = api
        self._execution_id = execution_id
        self._looks = 0
        self._all_looks = 0
        self._printed: set[str] = set()
        self._waits_for_people = False

    @property
    def next_look(self) -> float | None:
        """Seconds until the next look; None: there is none before the next event."""
        if self._waits_for_people or self._all_looks >= _MAX_LOOKS:
            return None
        return _LOOKS[min(self._looks, len(_LOOKS) - 1)]

    def see(self, event: Event) -> None:
        """Begin anew: something happens."""
        self._looks = 0
        # Who waits for a person was told so, and may wait for days.
        self._waits_for_people = isinstance(event, WatchAgentExecutionResponse) and event.HasField(
            "input_requested"
        )

    async def look(self) -> None:
        """Print what the execution waits for, if that is known."""
        self._looks += 1
        self._all_looks += 1
        if not self._api.is_connected:
            return  # the stream tells that
        try:
            text = await (self._wait() if self._looks == 1 else self._problem())
        except CliError:
            return  # the stream tells whether the API is there
        if text and text not in self._printed:
            self._printed.add(text)
            print_note(text)

    async def _wait(self) -> str:
        if Kind.of_id(self._execution_id) is Kind.WORKFLOW:
            request = GetExecutionTimelineRequest(id=self._execution_id)
            return calls_text(
                await self._api.call_long(self._api.diagnosis.GetExecutionTimeline, request)
            )
        return turn_text(await get_execution(self._api, self._execution_id))

    async def _problem(self) -> str:
        stuck = await find_stuck(self._api, timedelta())
        for each in wrong(stuck):
            if each.execution_id == self._execution_id:
                return f"it makes no progress: {each.message} (`{each.command}` shows more)"
        # Again: what is known of a wait needs the answer of a worker, which may be late.
        return await self._wait()


def turn_text(execution: Execution) -> str:
    """Return a line about an execution that waits for its turn in a session; "" for another."""
    if not isinstance(execution, AgentExecution) or execution.spec.agent.HasField("runtime"):
        return ""
    session, phase = execution.spec.session_id, execution.status.phase
    if not session or phase != AGENT_EXECUTION_PHASE_PENDING:
        return ""
    return f"PENDING: it waits for its turn in session {session}"


def calls_text(timeline: ExecutionTimeline) -> str:
    """Return a line about the calls under way of a document; "" where no more is known of them.

    That is the execution that an agent's call waits for, and how the last attempt ended. The first
    timer that may end the wait is named beside them.
    """
    waits = [
        f"the {each.title}: {each.detail}"
        for each in timeline.entries
        if each.step == TIMELINE_STEP_DOCUMENT_CALL and each.open and each.detail
    ]
    more = len(waits) - _MAX_CALLS
    if more > 0:
        waits[_MAX_CALLS:] = [f"{more} more"]
    if not waits:
        return ""
    timers = [
        each.title
        for each in timeline.entries
        if each.step == TIMELINE_STEP_DOCUMENT_TIMER and each.open
    ]
    # Titles of timers begin alike, and end with a time that sorts as text.
    waits += [f"a {min(timers)}"] if timers else []
    return f"it waits for {'; '.join(waits)}"


async def _next(stream: AsyncIterator[Event]) -> Event | None:
    return await anext(stream, None)
