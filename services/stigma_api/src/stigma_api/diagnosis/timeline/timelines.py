"""One execution's story in order of time, over its caller's history and its own.

Read from Temporal alone, so that it is there when no service of ours is. No payload is shown.
"""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts import tokens
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    TimelineEntry,
    TimelineStep,
)
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api.access.principals import Principal
from stigma_api.diagnosis.timeline.caller_part import CallerStory, CallerUnavailableError
from stigma_api.diagnosis.timeline.entries import in_order
from stigma_api.diagnosis.timeline.execution_part import OwnStory
from stigma_api.diagnosis.timeline.history_window import OwnRuns
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.kinds import KINDS
from stigma_api.temporal.histories import Histories

MAX_MODEL_CALLS = 500
"""Model calls shown, the newest."""

# Each may read and hold tens of megabytes.
_AT_A_TIME = 8
# Activities that wait for one execution, the newest: more than one is a caller's oddity.
_MAX_CALLERS = 5


class Timelines:
    """Tells the stories of executions, of agents and workflows alike."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._subjects = Reader[Any](client, *KINDS)
        self._histories = Histories(client)
        self._runs = OwnRuns(client, self._histories)
        self._room = asyncio.Semaphore(_AT_A_TIME)

    async def visible(self, principal: Principal, execution_id: str) -> ExecutionTimeline:
        """Return the timeline of an execution that this principal may see.

        Waits while many others are told; for how long is its caller's to say.

        Raises:
            ApiError: NOT_FOUND, also for another principal's; UNAVAILABLE, Temporal does not
                answer.
        """
        subject = await self._subjects.get_visible(principal, execution_id)
        async with self._room:
            return await self._told(subject)

    async def _told(self, subject: ExecutionDescription[Any]) -> ExecutionTimeline:
        parts, truncated = await self._runs.parts(subject)
        story = await OwnStory(self._client, subject).tell(parts)
        timeline = ExecutionTimeline(
            execution_id=subject.execution_id,
            definition_id=subject.definition_id,
            phase=story.phase or subject.phase,
            request_id=subject.execution.spec.request_id,
        )
        entries = story.entries
        if story.binds:
            timeline.caller.CopyFrom(story.binds[-1].caller)
            of_callers, timeline.caller_unavailable = await self._callers(story.binds)
            entries = entries + of_callers
        if isinstance(subject.execution, AgentExecution):
            timeline.usage.CopyFrom(story.usage)
        shown = _newest_calls(in_order(entries))
        timeline.entries.extend(shown)
        timeline.truncated = truncated or len(shown) < len(entries)
        return timeline

    async def _callers(self, binds: list[Bind]) -> tuple[list[TimelineEntry], str]:
        """Return the callers' entries, and why those of the newest are missing, if they are."""
        newest: dict[tuple[str, int], Bind] = {}
        for bind in reversed(binds):
            token = tokens.parse(bind.token)
            newest.setdefault((token.run_id, token.scheduled_event_id), bind)
        told: dict[bytes, TimelineEntry] = {}
        unavailable: list[str] = []
        for bind in list(newest.values())[:_MAX_CALLERS]:
            try:
                for each in await CallerStory(self._client, self._histories).tell(bind):
                    told.setdefault(_identity(each), each)
                unavailable.append("")
            except CallerUnavailableError as error:
                unavailable.append(str(error))
        return list(told.values()), unavailable[0]


def _identity(told: TimelineEntry) -> bytes:
    """Return what two tellings of one event have in common: a reset copies it to another run."""
    same = TimelineEntry(step=told.step, time=told.time, workflow_id=told.workflow_id)
    return same.SerializeToString(deterministic=True)


def _newest_calls(entries: list[TimelineEntry]) -> list[TimelineEntry]:
    """Leave out the oldest model calls when there are too many."""
    calls = [each for each in entries if each.step == TimelineStep.TIMELINE_STEP_MODEL_CALL]
    if len(calls) <= MAX_MODEL_CALLS:
        return entries
    first = calls[-MAX_MODEL_CALLS].time.ToNanoseconds()
    return [
        each
        for each in entries
        if each.step != TimelineStep.TIMELINE_STEP_MODEL_CALL or each.time.ToNanoseconds() >= first
    ]
