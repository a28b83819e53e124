"""Calls and timers of a document, from the histories of the engine's run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.engine_calls import CALL_GRPC, CALL_HTTP, CALL_OPENAPI, FETCH_RESOURCE
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma_api.diagnosis.timeline.entries import add_attempts, close, entry, failure_class
from stigma_api.diagnosis.timeline.history_window import HistoryWindow
from stigma_api.temporal.calls import describe
from stigma_api.temporal.histories import Histories, Run, cooperative_iter
from stigma_api.temporal.payloads import message, plain, text

_TITLES = {
    CALL_AGENT: "call of agent",
    CALL_HTTP: "HTTP call",
    CALL_OPENAPI: "OpenAPI call",
    CALL_GRPC: "gRPC call",
    FETCH_RESOURCE: "fetch for",
}
"""By the type of the call's activity, whose summary follows."""


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
        calls.add_pending(described.pending_activities)
        return entries, truncated


class _Calls:
    """The calls and timers of one run: none is open when another run continues it."""

    def __init__(self, client: Client, run: Run) -> None:
        self._client = client
        self._run = run
        self._by_event: dict[int, TimelineEntry] = {}
        self._by_activity: dict[str, TimelineEntry] = {}
        self._of_agents: set[int] = set()
        """Events that scheduled calls of agents."""

    @property
    def entries(self) -> list[TimelineEntry]:
        """The entries, in order."""
        return list(self._by_event.values())

    async def add(self, event: HistoryEvent) -> None:
        """Add the run's next event; one that is about no call changes nothing."""
        name = event.WhichOneof("attributes") or ""
        attributes: Any = getattr(event, name) if name else None
        if name == "activity_task_scheduled_event_attributes":
            await self._open(event, attributes)
        elif name == "timer_started_event_attributes":
            self._open_timer(event, attributes)
        elif name in _TIMER_ENDS:
            self._close_timer(attributes.started_event_id, event.event_time, name)
        elif name in _RUN_ENDS:
            self._close_all(event.event_time)
        elif name.startswith("activity_task_"):
            opened = self._by_event.get(attributes.scheduled_event_id)
            if opened is not None:
                await self._update(opened, name, attributes, event.event_time)

    def add_pending(self, pending: Iterable[Any]) -> None:
        """Add what no history has yet: the attempts of activities under way."""
        add_attempts(self._by_activity, pending)

    async def _open(self, event: HistoryEvent, scheduled: Any) -> None:
        title = _TITLES.get(scheduled.activity_type.name)
        if title is None:
            return
        what = await text(self._client, event.user_metadata.summary)
        step = TimelineStep.TIMELINE_STEP_DOCUMENT_CALL
        added = entry(step, self._run, event.event_time, f"{title} {what}".rstrip(), open=True)
        self._by_event[event.event_id] = self._by_activity[scheduled.activity_id] = added
        if scheduled.activity_type.name == CALL_AGENT:
            self._of_agents.add(event.event_id)

    def _open_timer(self, event: HistoryEvent, started: Any) -> None:
        fires = Timestamp()
        fires.FromNanoseconds(
            event.event_time.ToNanoseconds() + started.start_to_fire_timeout.ToNanoseconds()
        )
        title = f"timer up to {fires.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
        step = TimelineStep.TIMELINE_STEP_DOCUMENT_TIMER
        self._by_event[event.event_id] = entry(step, self._run, event.event_time, title, open=True)

    def _close_timer(self, started_event_id: int, time: Timestamp, name: str) -> None:
        """Close a timer that fired; one that nothing waits for any more was none of interest."""
        if started_event_id not in self._by_event:
            return  # it was started before what is read
        if name == _TIMER_FIRED:
            close(self._by_event[started_event_id], time)
        else:
            del self._by_event[started_event_id]

    async def _update(
        self, opened: TimelineEntry, name: str, attributes: Any, time: Timestamp
    ) -> None:
        match name:
            case "activity_task_started_event_attributes":
                opened.attempt = attributes.attempt
            case "activity_task_completed_event_attributes":
                close(opened, time, await self._outcome(attributes))
            case "activity_task_failed_event_attributes":
                close(opened, time, await self._failure(attributes.failure), failed=True)
            case "activity_task_timed_out_event_attributes":
                close(opened, time, failure_class(attributes.failure), failed=True)
            case "activity_task_canceled_event_attributes":
                close(opened, time, "cancelled", failed=True)

    async def _outcome(self, completed: Any) -> str:
        """Return the execution that an agent's call came to; nothing for others."""
        if completed.scheduled_event_id not in self._of_agents:
            return ""
        execution = await message(self._client, completed.result.payloads, AgentExecution)
        return f"execution {execution.id}" if execution.id else ""

    async def _failure(self, failure: Failure) -> str:
        """Return the class of a failure, and the status of the document's error."""
        problem = await plain(self._client, failure.application_failure_info.details.payloads)
        status = problem.get("status")
        failed = failure_class(failure)
        return f"{failed}, status {status}" if isinstance(status, int) else failed

    def _close_all(self, time: Timestamp) -> None:
        for opened in self.entries:
            if opened.open:
                close(opened, time, "given up", failed=True)


_TIMER_FIRED = "timer_fired_event_attributes"
_TIMER_ENDS = frozenset({_TIMER_FIRED, "timer_canceled_event_attributes"})
_RUN_ENDS = frozenset(
    f"workflow_execution_{how}_event_attributes"
    for how in ("completed", "failed", "timed_out", "canceled", "terminated", "continued_as_new")
)
