"""Calls and timers of a document, as facts of the history of the engine's run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.engine_calls import (
    CALL_GRPC,
    CALL_HTTP,
    CALL_OPENAPI,
    FETCH_RESOURCE,
    WAIT_EXACTLY,
)
from stigma.contracts.engine_summaries import (
    agent_call_of,
    call_of,
    timer_use_of,
)
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    DOCUMENT_CALL_KIND_AGENT,
    DOCUMENT_CALL_KIND_GRPC,
    DOCUMENT_CALL_KIND_HTTP,
    DOCUMENT_CALL_KIND_OPENAPI,
    DOCUMENT_CALL_KIND_RESOURCE,
    DOCUMENT_CALL_OUTCOME_CANCELLED,
    DOCUMENT_CALL_OUTCOME_FAILED,
    DOCUMENT_CALL_OUTCOME_GIVEN_UP,
    DOCUMENT_CALL_OUTCOME_OK,
    DOCUMENT_CALL_OUTCOME_TIMED_OUT,
)
from stigma_api.executions.document_facts import (
    CallClosed,
    CallDetails,
    CallOpened,
    DocumentFact,
    TimerClosed,
    TimerOpened,
)
from stigma_api.executions.document_timeouts import DocumentTimeouts
from stigma_api.executions.history_facts import Content
from stigma_api.temporal.failures import failure_class
from stigma_api.temporal.histories import RUN_ENDS
from stigma_api.temporal.payloads import plain, text

_KINDS = {
    CALL_AGENT: DOCUMENT_CALL_KIND_AGENT,
    CALL_HTTP: DOCUMENT_CALL_KIND_HTTP,
    CALL_OPENAPI: DOCUMENT_CALL_KIND_OPENAPI,
    CALL_GRPC: DOCUMENT_CALL_KIND_GRPC,
    FETCH_RESOURCE: DOCUMENT_CALL_KIND_RESOURCE,
}
"""By the type of the call's activity."""
_TIMEOUT = "timeout"
"""Class of the error of a task that took too long."""
_TIMEOUT_STATUS = 408
_REASON = re.compile(r"[A-Z][A-Z_]{0,63}")


class DocumentHistoryReader:
    """Reads the events of one run of a document, in order; the first ones may be left out.

    Nothing is open when another run continues one.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: dict[int, CallOpened | TimerOpened] = {}
        self._attempts: dict[int, int] = {}
        self._failed: list[CallClosed] = []
        """Calls that have failed since the last workflow task."""
        self._causes: list[CallClosed] = []
        """Calls that had failed before the last workflow task, whose commands come next."""
        self._timeouts = DocumentTimeouts()

    async def read(self, event: HistoryEvent) -> Sequence[DocumentFact]:
        """Return the facts that an event records: several where the run's end closes them."""
        name = event.WhichOneof("attributes") or ""
        attributes: Any = getattr(event, name, None)
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                return self._opened(await self._read_scheduled(event, attributes))
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                self._causes, self._failed = self._failed, []
                self._timeouts.workflow_task_completed()
            case EventType.EVENT_TYPE_TIMER_STARTED:
                return self._opened(await self._read_timer(event, attributes))
            case EventType.EVENT_TYPE_TIMER_FIRED | EventType.EVENT_TYPE_TIMER_CANCELED:
                fired = event.event_type == EventType.EVENT_TYPE_TIMER_FIRED
                return self._close_timer(attributes.started_event_id, fired=fired)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
                call = self._open.get(attributes.scheduled_event_id)
                if isinstance(call, CallOpened):
                    self._timeouts.cancel_requested(call.event_id, call.task)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                self._attempts[attributes.scheduled_event_id] = attributes.attempt
            case each if (close := _CLOSERS.get(each)) is not None:
                return self._close_call(attributes, close)
            case each if each in RUN_ENDS:
                return self._close_all(_timeout_of(attributes))
        return []

    async def details(self, closed: CallClosed) -> CallDetails:
        """Decode what a call's end says of it, but for content."""
        is_timed_out = closed.outcome == DOCUMENT_CALL_OUTCOME_TIMED_OUT
        known = CallDetails(_TIMEOUT, _TIMEOUT_STATUS) if is_timed_out else CallDetails()
        if closed.result is not None:
            return replace(known, execution_id=(await closed.result.read()).id)
        if is_timed_out or closed.failure is None:
            return known
        error = failure_class(closed.failure)
        is_failed = closed.outcome == DOCUMENT_CALL_OUTCOME_FAILED
        if is_failed and closed.call.kind == DOCUMENT_CALL_KIND_AGENT:
            details = closed.failure.application_failure_info.details.payloads
            return _agent_details(error, await plain(self._client, details))
        return CallDetails(error, await error_status(self._client, closed.failure))

    def _opened(self, opened: CallOpened | TimerOpened | None) -> Sequence[DocumentFact]:
        if opened is None:
            return []
        self._open[opened.event_id] = opened
        return [opened]

    async def _read_scheduled(self, event: HistoryEvent, scheduled: Any) -> CallOpened | None:
        """Return the call that an activity makes; None for one of the engine's own."""
        name = scheduled.activity_type.name
        kind = _KINDS.get(name)
        if kind is None and name != WAIT_EXACTLY:
            return None
        summary = await text(self._client, event.user_metadata.summary)
        if kind is None:
            self._timeouts.short_timer_started(event.event_id, timer_use_of(summary))
            return None
        if kind == DOCUMENT_CALL_KIND_AGENT:
            agent, task, tries = agent_call_of(summary)
        else:
            agent, (task, tries) = "", call_of(summary)
        return CallOpened(event.event_id, scheduled.activity_id, kind, task, agent, tries)

    def _close_call(self, attributes: Any, close: _Closer) -> Sequence[DocumentFact]:
        attempt = self._attempts.pop(attributes.scheduled_event_id, 0)
        call = self._open.pop(attributes.scheduled_event_id, None)
        if not isinstance(call, CallOpened):
            if close is _completed:
                self._timeouts.short_timer_fired(attributes.scheduled_event_id)
            return []
        if self._timeouts.has_ended(call.event_id):
            # Whatever it ended with then, the document went on without it.
            ended = close(self._client, call, attempt, attributes)
            return [replace(ended, outcome=DOCUMENT_CALL_OUTCOME_TIMED_OUT)]
        closed = close(self._client, call, attempt, attributes)
        if closed.outcome == DOCUMENT_CALL_OUTCOME_FAILED:
            self._failed.append(closed)
        return [closed]

    def _close_timer(self, event_id: int, *, fired: bool) -> Sequence[DocumentFact]:
        timer = self._open.pop(event_id, None)
        if not isinstance(timer, TimerOpened):
            return []
        if fired:
            self._timeouts.fired(timer.use)
        return [TimerClosed(timer, fired)]

    async def _read_timer(self, event: HistoryEvent, started: Any) -> TimerOpened:
        fires = Timestamp()
        fires.FromNanoseconds(
            event.event_time.ToNanoseconds() + started.start_to_fire_timeout.ToNanoseconds()
        )
        # With several it is not known which of them the timer is for.
        after = self._causes[0] if len(self._causes) == 1 else None
        use = timer_use_of(await text(self._client, event.user_metadata.summary))
        return TimerOpened(event.event_id, fires, after, use)

    def _close_all(self, timeout: Failure | None) -> Sequence[DocumentFact]:
        """Close what is left at the run's end.

        Args:
            timeout: the timeout by which the run ended; None for another end.
        """
        left = list(self._open.values())
        self._open.clear()
        return [
            self._given_up(each, timeout)
            if isinstance(each, CallOpened)
            else TimerClosed(each, fired=False, given_up=True)
            for each in left
        ]

    def _given_up(self, call: CallOpened, timeout: Failure | None) -> CallClosed:
        if self._timeouts.has_ended(call.event_id):
            return CallClosed(call, DOCUMENT_CALL_OUTCOME_TIMED_OUT)
        return CallClosed(call, DOCUMENT_CALL_OUTCOME_GIVEN_UP, failure=timeout)


def _timeout_of(run_end: Any) -> Failure | None:
    """Return the failure of a run's end, where that is a timeout of the document."""
    failure: Failure | None = getattr(run_end, "failure", None)
    return failure if failure is not None and failure_class(failure) == _TIMEOUT else None


def _completed(client: Client, call: CallOpened, attempt: int, attributes: Any) -> CallClosed:
    is_agent = call.kind == DOCUMENT_CALL_KIND_AGENT
    payloads = attributes.result.payloads
    result = Content(client, payloads, AgentExecution) if is_agent else None
    return CallClosed(call, DOCUMENT_CALL_OUTCOME_OK, attempt, result=result)


def _failed(_client: Client, call: CallOpened, attempt: int, attributes: Any) -> CallClosed:
    return CallClosed(call, DOCUMENT_CALL_OUTCOME_FAILED, attempt, failure=attributes.failure)


def _cancelled(_client: Client, call: CallOpened, attempt: int, _attributes: Any) -> CallClosed:
    return CallClosed(call, DOCUMENT_CALL_OUTCOME_CANCELLED, attempt)


_Closer = Callable[[Client, CallOpened, int, Any], CallClosed]
_CLOSERS: dict[EventType.ValueType, _Closer] = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: _completed,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: _failed,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: _failed,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: _cancelled,
}


async def error_status(client: Client, failure: Failure) -> int:
    """Return the status of a document's error; 0: it has none."""
    detail = await plain(client, failure.application_failure_info.details.payloads)
    status = detail.get("status")
    return status if isinstance(status, int) and 0 < status < 1000 else 0


def _agent_details(error: str, detail: dict[str, Any]) -> CallDetails:
    """Return the reason of an agent's failure, and its execution if there was one."""
    reason, execution = detail.get("reason"), detail.get("execution")
    if isinstance(reason, str) and _REASON.fullmatch(reason):
        error = reason
    execution_id = execution.get("id") if isinstance(execution, dict) else None
    known = isinstance(execution_id, str) and Kind.of_id(execution_id) is Kind.AGENT
    return CallDetails(error, execution_id=str(execution_id) if known else "")
