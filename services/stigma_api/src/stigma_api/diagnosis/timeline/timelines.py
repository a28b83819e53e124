"""Timelines: one execution in order of time, from its caller's history and its own.

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
from stigma_api.diagnosis.timeline.caller_part import CallerPartReader, CallerUnavailableError
from stigma_api.diagnosis.timeline.document_part import DocumentPartReader
from stigma_api.diagnosis.timeline.entries import sort_entries
from stigma_api.diagnosis.timeline.execution_part import ExecutionPartBuilder
from stigma_api.diagnosis.timeline.history_window import HistoryWindow
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.kinds import KINDS
from stigma_api.temporal.histories import Histories, Run

MAX_CALLS = 1000
"""Calls of models and tools shown: the newest."""

# Timelines read at a time: each may read and hold tens of megabytes.
_MAX_READS = 8
# Activities read of those that wait for one execution: more than one is a caller's oddity.
_MAX_CALLERS = 5


class Timelines:
    """Builds the timelines of executions, of agents and workflows alike."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reader = Reader[Any](client, *KINDS)
        self._histories = Histories(client)
        self._window = HistoryWindow(self._histories)
        self._document = DocumentPartReader(client, self._histories)
        self._reads = asyncio.Semaphore(_MAX_READS)

    async def get_visible(self, principal: Principal, execution_id: str) -> ExecutionTimeline:
        """Return the timeline of an execution that this principal may see.

        Waits while many others are read; its caller limits for how long.

        Raises:
            ApiError: NOT_FOUND, also for another principal's; UNAVAILABLE, Temporal does not
                answer.
        """
        description = await self._reader.get_visible(principal, execution_id)
        async with self._reads:
            return await self._build(description)

    async def _build(self, description: ExecutionDescription[Any]) -> ExecutionTimeline:
        newest = Run(self._client.namespace, description.execution_id, description.run_id)
        slices, truncated = await self._window.read(newest, description.first_run_id)
        part = await ExecutionPartBuilder(self._client, description).build(slices)
        timeline = ExecutionTimeline(
            execution_id=description.execution_id,
            definition_id=description.definition_id,
            phase=part.phase or description.phase,
            request_id=description.execution.spec.request_id,
        )
        entries = part.entries
        if part.binds:
            timeline.caller.CopyFrom(part.binds[-1].caller)
            caller_entries, timeline.caller_unavailable = await self._read_callers(part.binds)
            entries = entries + caller_entries
        if run_id := _engine_run(entries):
            calls, has_more = await self._document.read(run_id)
            entries, truncated = entries + calls, truncated or has_more
        if isinstance(description.execution, AgentExecution):
            timeline.usage.CopyFrom(part.usage)
        shown = _limit_calls(sort_entries(entries))
        timeline.entries.extend(shown)
        timeline.truncated = truncated or len(shown) < len(entries)
        return timeline

    async def _read_callers(self, binds: list[Bind]) -> tuple[list[TimelineEntry], str]:
        """Return the callers' entries, and the reason if those of the newest are missing."""
        newest: dict[tuple[str, int], Bind] = {}
        for bind in reversed(binds):
            token = tokens.parse(bind.token)
            newest.setdefault((token.run_id, token.scheduled_event_id), bind)
        entries: dict[bytes, TimelineEntry] = {}
        unavailable: list[str] = []
        for bind in list(newest.values())[:_MAX_CALLERS]:
            try:
                for each in await CallerPartReader(self._client, self._histories).read(bind):
                    entries.setdefault(_identity(each), each)
                unavailable.append("")
            except CallerUnavailableError as error:
                unavailable.append(str(error))
        return list(entries.values()), unavailable[0]


def _engine_run(entries: list[TimelineEntry]) -> str:
    """Return the workflow of the engine's run; empty without any."""
    runs = (each for each in entries if each.step == TimelineStep.TIMELINE_STEP_ENGINE_RUN)
    return next((each.workflow_id for each in runs), "")


def _identity(entry: TimelineEntry) -> bytes:
    """Return the fields that are the same in all copies of an event: a reset copies it."""
    same = TimelineEntry(step=entry.step, time=entry.time, workflow_id=entry.workflow_id)
    return same.SerializeToString(deterministic=True)


def _limit_calls(entries: list[TimelineEntry]) -> list[TimelineEntry]:
    """Leave out the oldest calls when there are too many, and what people said of them."""
    calls = [each for each in entries if each.step in _CALLS]
    if len(calls) <= MAX_CALLS:
        return entries
    first = calls[-MAX_CALLS].time.ToNanoseconds()
    return [
        each
        for each in entries
        if each.step not in _CALLS | _PEOPLE or each.time.ToNanoseconds() >= first
    ]


_CALLS = frozenset(
    {
        TimelineStep.TIMELINE_STEP_MODEL_CALL,
        TimelineStep.TIMELINE_STEP_TOOL_CALL,
        TimelineStep.TIMELINE_STEP_REPORTED,
        TimelineStep.TIMELINE_STEP_DOCUMENT_CALL,
        TimelineStep.TIMELINE_STEP_DOCUMENT_TIMER,
    }
)
_PEOPLE = frozenset(
    {
        TimelineStep.TIMELINE_STEP_INPUT_REQUIRED,
        TimelineStep.TIMELINE_STEP_MESSAGE_RECEIVED,
    }
)
