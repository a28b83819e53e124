"""A caller's part of a timeline, from the history of the workflow whose activity waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import tokens
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma.internal.v1.execution_pb2 import Bind
from stigma.runtime.pending_activities import OPEN
from stigma_api.diagnosis.timeline.entries import entry
from stigma_api.errors import ApiError
from stigma_api.temporal.calls import temporal_call
from stigma_api.temporal.failures import failure_class
from stigma_api.temporal.histories import Histories, Run

# Events read of one caller's history, from that on which scheduled its activity.
_MAX_EVENTS = 5000
_MAX_RESETS = 5

_UNREACHABLE = {
    RPCStatusCode.NOT_FOUND: "is past retention, or never was",
    RPCStatusCode.PERMISSION_DENIED: "may not be looked at from here",
    RPCStatusCode.UNAUTHENTICATED: "may not be looked at from here",
}


class CallerUnavailableError(Exception):
    """A caller's part is missing; the text is the reason, on one line."""


@dataclass
class _Waiting:
    """The activity that waits, as far as its history was read."""

    bind: Bind
    entries: list[TimelineEntry] = field(default_factory=list)
    taken: TimelineEntry | None = None
    activity_id: str = ""
    outcome: str | None = None
    """How the activity ended; None while it waits."""
    task_started: HistoryEvent | None = None
    resumed: bool = False


class CallerPartReader:
    """Reads when an activity took its token, and when its workflow went on."""

    def __init__(self, client: Client, histories: Histories) -> None:
        self._client = client
        self._histories = histories

    async def read(self, bind: Bind) -> list[TimelineEntry]:
        """Return the entries of the activity that an attempt is of, not in order.

        Raises:
            CallerUnavailableError: its workflow cannot be read.
        """
        token = tokens.parse(bind.token)
        namespace = bind.caller.namespace or self._client.namespace
        waiting = _Waiting(bind)
        run_id, resets = token.run_id, 0
        try:
            while True:
                run = Run(namespace, token.workflow_id, run_id)
                described = await self._describe(run)
                await self._read_run(run, token.scheduled_event_id, waiting)
                # A reset closes a run and goes on in another one, which waits for the same.
                run_id = described.workflow_extended_info.reset_run_id
                resets += 1
                if waiting.outcome is not None or not run_id or resets > _MAX_RESETS:
                    break
        except RPCError as error:
            problem = _UNREACHABLE.get(error.status, f"cannot be read: {error.status.name}")
            raise CallerUnavailableError(f"workflow {token.workflow_id} {problem}") from None
        except ApiError as error:
            raise CallerUnavailableError(error.message) from None
        if waiting.taken is None:
            raise CallerUnavailableError(
                f"workflow {token.workflow_id} has too long a history to be read"
            )
        _add_end(run, described, waiting)
        return waiting.entries

    async def _describe(self, run: Run) -> DescribeWorkflowExecutionResponse:
        async with temporal_call():
            return await self._client.workflow_service.describe_workflow_execution(
                DescribeWorkflowExecutionRequest(
                    namespace=run.namespace,
                    execution=WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id),
                ),
                retry=True,
            )

    async def _read_run(self, run: Run, scheduled: int, waiting: _Waiting) -> None:
        async for event in self._events_from(run, scheduled):
            _add_event(run, event, scheduled, waiting)
            if waiting.resumed:
                return

    async def _events_from(self, run: Run, scheduled: int) -> AsyncIterator[HistoryEvent]:
        """Yield a run's events from one on, in order, if it can be reached from either end."""
        if scheduled <= _MAX_EVENTS:
            async for event in self._histories.oldest_first(run):
                if event.event_id >= scheduled + _MAX_EVENTS:
                    return
                if event.event_id >= scheduled:
                    yield event
            return
        newest: list[HistoryEvent] = []
        async for event in self._histories.newest_first(run):
            newest.append(event)
            if event.event_id <= scheduled:
                break
            if len(newest) >= _MAX_EVENTS:
                return
        for event in reversed(newest):
            yield event


def _add_event(run: Run, event: HistoryEvent, scheduled: int, waiting: _Waiting) -> None:
    name = event.WhichOneof("attributes") or ""
    attributes: Any = getattr(event, name, None)
    if event.event_id == scheduled and name == "activity_task_scheduled_event_attributes":
        _add_scheduled(run, event, waiting)
    elif name == "activity_task_scheduled_event_attributes":
        return  # another activity of the caller's, beside this one
    elif name.startswith("activity_task_") and attributes.scheduled_event_id == scheduled:
        _add_activity_event(run, event, waiting)
    elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
        waiting.task_started = event
    elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
        _add_task_completed(run, waiting)


def _add_scheduled(run: Run, event: HistoryEvent, waiting: _Waiting) -> None:
    if waiting.taken is not None:
        return  # copied into a run that a reset began
    attributes = event.activity_task_scheduled_event_attributes
    waiting.activity_id = attributes.activity_id
    waiting.taken = entry(
        TimelineStep.TIMELINE_STEP_TAKEN,
        run,
        event.event_time,
        f"{attributes.activity_type.name} takes its token",
        attempt=1,
        fingerprint=tokens.fingerprint(waiting.bind.token),
    )
    waiting.entries.append(waiting.taken)


def _add_activity_event(run: Run, event: HistoryEvent, waiting: _Waiting) -> None:
    match event.event_type:
        case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            if waiting.taken is not None:
                waiting.taken.attempt = event.activity_task_started_event_attributes.attempt
        case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
            step = TimelineStep.TIMELINE_STEP_CANCEL_REQUESTED
            cancelled = entry(step, run, event.event_time, "the caller cancels its activity")
            waiting.entries.append(cancelled)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            waiting.outcome = ""
        case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            waiting.outcome = failure_class(event.activity_task_failed_event_attributes.failure)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            waiting.outcome = failure_class(event.activity_task_timed_out_event_attributes.failure)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
            waiting.outcome = "cancelled"
    if waiting.outcome is not None:
        waiting.task_started = None  # one that began before does not know of it


def _add_task_completed(run: Run, waiting: _Waiting) -> None:
    """Add that the caller went on: its code has run after the outcome came, and did not fail."""
    if waiting.outcome is None or waiting.task_started is None:
        return
    waiting.resumed = True
    resumed = entry(
        TimelineStep.TIMELINE_STEP_RESUMED,
        run,
        waiting.task_started.event_time,
        "the caller goes on",
        detail=waiting.outcome or "with the outcome",
        failed=bool(waiting.outcome),
        fingerprint=tokens.fingerprint(waiting.bind.token),
    )
    waiting.entries.append(resumed)


def _add_end(run: Run, described: DescribeWorkflowExecutionResponse, waiting: _Waiting) -> None:
    """Add what no event of the activity records: its attempts so far, or the caller's end."""
    info = described.workflow_execution_info
    if info.status in OPEN:
        for pending in described.pending_activities:
            if pending.activity_id == waiting.activity_id and waiting.taken is not None:
                waiting.taken.attempt = max(pending.attempt, 1)
    elif not waiting.resumed:
        status = WorkflowExecutionStatus.Name(info.status)
        status = status.removeprefix("WORKFLOW_EXECUTION_STATUS_").lower().replace("_", " ")
        step = TimelineStep.TIMELINE_STEP_CALLER_ENDED
        ended = entry(step, run, info.close_time, "the caller ended", detail=status, failed=True)
        waiting.entries.append(ended)
