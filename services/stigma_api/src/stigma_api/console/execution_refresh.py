"""Snapshots of an execution: taken when something happens to it, and never too often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import grpc

from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionResponse
from stigma.contracts.executions import Execution
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    TIMELINE_STEP_CALLER_ENDED,
    TIMELINE_STEP_ENDED,
    TIMELINE_STEP_RESUMED,
    ExecutionTimeline,
)
from stigma.workflow.v1.workflow_execution_service_pb2 import WatchWorkflowExecutionResponse
from stigma_api.access.principals import Principal
from stigma_api.console.api import Api, newest_run_cursor
from stigma_api.console.partial_answer import PartialAnswer, Writing
from stigma_api.console.views import ExecutionView, view
from stigma_api.errors import ApiError

# Longest time between snapshots: a failed attempt and a missing worker have no event.
_REFRESH_SECONDS = 5.0
_MIN_SECONDS = 1.0
_BACKOFF_FACTOR = 3
_JUST_ENDED = timedelta(seconds=10)
# Longest wait for the caller to go on, which a caller without workers does much later.
_RESUMED_WITHIN = timedelta(minutes=10)
# Events after which no more of an answer comes.
_ENDS_OF_ANSWERS = {"model_call_completed", "model_call_failed", "ended"}
_CALLER_DONE = {TIMELINE_STEP_RESUMED, TIMELINE_STEP_CALLER_ENDED}


@dataclass(frozen=True)
class Snapshot:
    """An execution and its timeline at one time."""

    shown: ExecutionView
    timeline: ExecutionTimeline
    writing: Writing | None = None
    """Text so far of the model's next answer, if the start asked for that."""

    @property
    def is_final(self) -> bool:
        """Whether the page will not change any more: it ended, and its caller went on."""
        shown, timeline = self.shown, self.timeline
        if not shown.has_ended or shown.end is None:
            return False  # while it closes, it has ended in its own words and not in Temporal's
        if _since(shown.end) > _RESUMED_WITHIN:
            return True
        steps = {entry.step for entry in timeline.entries}
        no_caller = shown.caller is None or timeline.caller_unavailable
        return TIMELINE_STEP_ENDED in steps and bool(no_caller or steps & _CALLER_DONE)

    @property
    def has_just_ended(self) -> bool:
        """Whether it ended a few seconds ago, so that its last events follow soon."""
        return self.shown.end is not None and _since(self.shown.end) < _JUST_ENDED


class ExecutionRefresher:
    """Takes snapshots of executions."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def snapshot(self, principal: Principal, execution_id: str) -> Snapshot:
        """Return a snapshot of an execution."""
        execution: Execution
        execution, timeline = await asyncio.gather(
            self._api.execution(principal, execution_id, pending_steps=True),
            self._api.timeline(principal, execution_id),
        )
        return Snapshot(view(execution), timeline)

    async def snapshots(
        self, principal: Principal, execution_id: str
    ) -> AsyncGenerator[Snapshot, None]:
        """Yield a snapshot now, and whenever something has happened, up to a final one.

        While a model writes, the last one is yielded again with the text: that asks for nothing.
        """
        changes = _Changes()
        watching: asyncio.Task[None] | None = None
        try:
            while True:
                began = time.monotonic()
                changes.clear()
                answered = changes.answer.is_complete
                snapshot = await self.snapshot(principal, execution_id)
                is_shown = answered and changes.answer.is_complete  # in the conversation, by now
                # The watch may tell of the last answer's end later than the snapshot.
                if is_shown or snapshot.shown.has_ended:
                    changes.answer.clear()
                yield replace(snapshot, writing=changes.answer.writing)
                if snapshot.is_final:
                    return
                if watching is None:
                    # Not from the start: a long execution has many runs.
                    begin = newest_run_cursor(snapshot.timeline)
                    watching = asyncio.create_task(
                        self._watch(principal, execution_id, begin, changes)
                    )
                pause = backoff(began, _MIN_SECONDS)
                await asyncio.sleep(pause)
                if not snapshot.has_just_ended:
                    async for writing in changes.writing_until(began + _REFRESH_SECONDS):
                        yield replace(snapshot, writing=writing)
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _watch(
        self, principal: Principal, execution_id: str, cursor: str, changes: _Changes
    ) -> None:
        while True:
            try:
                watched = self._api.changes(principal, execution_id, cursor)
                async with aclosing(watched):
                    async for event in watched:
                        cursor = event.cursor
                        changes.add(event)
            except ApiError as error:
                if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                    cursor = ""  # past retention meanwhile
                await asyncio.sleep(_REFRESH_SECONDS)
            else:
                return


class _Changes:
    """Changes that a watch has told since the last snapshot."""

    def __init__(self) -> None:
        self.answer = PartialAnswer()
        self._changed = False
        self._news = asyncio.Event()

    def add(self, event: WatchAgentExecutionResponse | WatchWorkflowExecutionResponse) -> None:
        """Take in an event."""
        if isinstance(event, WatchAgentExecutionResponse) and event.HasField("progress"):
            self.answer.add(event.progress)
        else:
            self._changed = True
            if event.WhichOneof("event") in _ENDS_OF_ANSWERS:
                self.answer.complete()
        self._news.set()

    def clear(self) -> None:
        """Begin with the next snapshot."""
        self._changed = False

    async def writing_until(self, end: float) -> AsyncGenerator[Writing | None, None]:
        """Yield the answer as it grows, until a time or until a snapshot has to be taken.

        Args:
            end: monotonic.
        """
        while not self._changed and (left := end - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                return
            self._news.clear()
            if not self._changed:
                yield self.answer.writing


def backoff(began: float, min_seconds: float) -> float:
    """Return the seconds to wait before the next refresh; longer after one that took long.

    Args:
        began: monotonic time at which the refresh that is done now began.
        min_seconds: at least this long.
    """
    return max(min_seconds, _BACKOFF_FACTOR * (time.monotonic() - began))


def _since(end: datetime) -> timedelta:
    return datetime.now(UTC) - end
