"""Calls and timers of a document, from the histories of the engine's run."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client

from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    DOCUMENT_CALL_OUTCOME_CANCELLED,
    DOCUMENT_CALL_OUTCOME_GIVEN_UP,
    DOCUMENT_CALL_OUTCOME_OK,
    DOCUMENT_CALL_OUTCOME_TIMED_OUT,
)
from stigma_api.diagnosis.called_executions import called_execution
from stigma_api.diagnosis.timeline.entries import add_attempts, close, entry, one_line
from stigma_api.diagnosis.timeline.history_window import HistoryWindow
from stigma_api.executions.document_facts import (
    CallClosed,
    CallDetails,
    CallOpened,
    DocumentFact,
    TimerClosed,
    TimerOpened,
)
from stigma_api.executions.document_history import DocumentHistoryReader
from stigma_api.temporal.calls import describe
from stigma_api.temporal.histories import Histories, Run, cooperative_iter

_OUTCOMES = {
    DOCUMENT_CALL_OUTCOME_CANCELLED: "cancelled",
    DOCUMENT_CALL_OUTCOME_GIVEN_UP: "given up",
    DOCUMENT_CALL_OUTCOME_TIMED_OUT: "timed out",
}


class DocumentPartReader:
    """Reads what the engine's run of a document has others do."""

    def __init__(self, client: Client, histories: Histories) -> None:
        self._client = client
        self._window = HistoryWindow(histories)

    async def read(self, workflow_id: str) -> tuple[list[TimelineEntry], bool]:
        """Return the calls and timers of a run, in order, and whether there were more.

        Raises:
            ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED.
        """
        described = await describe(self._client, workflow_id)
        if described is None:
            return [], False  # it has not begun, or is past retention
        info = described.workflow_execution_info
        newest = Run(self._client.namespace, workflow_id, info.execution.run_id)
        slices, truncated = await self._window.read(newest, info.first_run_id or newest.run_id)
        entries: list[TimelineEntry] = []
        calls = _Calls(self._client, newest)
        for each in slices:
            calls = _Calls(self._client, each.run)
            async for event in cooperative_iter(each.events):
                await calls.add(event)
            entries += calls.entries
        await calls.add_pending(described.pending_activities)
        return entries, truncated


class _Calls:
    """The calls and timers of one run: none is open when another run continues it."""

    def __init__(self, client: Client, run: Run) -> None:
        self._client = client
        self._run = run
        self._reader = DocumentHistoryReader(client)
        self._by_event: dict[int, TimelineEntry] = {}
        self._by_activity: dict[str, TimelineEntry] = {}

    @property
    def entries(self) -> list[TimelineEntry]:
        """The entries, in order."""
        return list(self._by_event.values())

    async def add(self, event: HistoryEvent) -> None:
        """Add the run's next event; one that is about no call changes nothing."""
        for fact in await self._reader.read(event):
            await self._add_fact(fact, event.event_time)

    async def add_pending(self, pending: Sequence[PendingActivityInfo]) -> None:
        """Add what no history has yet: attempts of activities under way, and agents' executions."""
        add_attempts(self._by_activity, pending)
        for each in pending:
            opened = self._by_activity.get(each.activity_id)
            if opened is None:
                continue
            if execution_id := await called_execution(self._client, each):
                parts = (opened.detail, f"execution {execution_id}")
                opened.detail = one_line(", ".join(filter(None, parts)))

    async def _add_fact(self, fact: DocumentFact, time: Timestamp) -> None:
        match fact:
            case CallOpened():
                self._open_call(fact, time)
            case CallClosed(call=call):
                opened = self._by_event[call.event_id]
                opened.attempt = fact.attempt
                detail = _detail_text(fact, await self._reader.details(fact))
                failed = fact.outcome != DOCUMENT_CALL_OUTCOME_OK
                close(opened, time, detail, failed=failed)
            case TimerOpened():
                self._open_timer(fact, time)
            case TimerClosed():
                self._close_timer(fact, time)

    def _open_call(self, call: CallOpened, time: Timestamp) -> None:
        step = TimelineStep.TIMELINE_STEP_DOCUMENT_CALL
        added = entry(step, self._run, time, call.title, open=True)
        self._by_event[call.event_id] = self._by_activity[call.activity_id] = added

    def _open_timer(self, timer: TimerOpened, time: Timestamp) -> None:
        step = TimelineStep.TIMELINE_STEP_DOCUMENT_TIMER
        self._by_event[timer.event_id] = entry(step, self._run, time, timer.title, open=True)

    def _close_timer(self, closed: TimerClosed, time: Timestamp) -> None:
        """Close a timer that fired; one that nothing waits for any more was none of interest."""
        if closed.fired:
            close(self._by_event[closed.timer.event_id], time)
        elif closed.given_up:
            close(self._by_event[closed.timer.event_id], time, "given up", failed=True)
        else:
            del self._by_event[closed.timer.event_id]


def _detail_text(closed: CallClosed, details: CallDetails) -> str:
    """Return the outcome of a call, its error with the status, and an agent's execution."""
    parts = (
        _OUTCOMES.get(closed.outcome, ""),
        details.error,
        f"status {details.status}" if details.status else "",
        f"execution {details.execution_id}" if details.execution_id else "",
    )
    return ", ".join(part for part in parts if part)
