"""Watch events of a document: its calls and timers, without what they send and get."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_service_pb2 import ModelProgress
from stigma.contracts.engine_summaries import TimerKind
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    DOCUMENT_TIMER_KIND_RETRY,
    DOCUMENT_TIMER_KIND_TIMEOUT,
    DOCUMENT_TIMER_KIND_WAIT,
    DocumentCall,
    DocumentCallEnded,
    DocumentCallStarted,
    DocumentTimer,
    DocumentTimerEnded,
    DocumentTimerStarted,
    WatchWorkflowExecutionResponse,
)
from stigma_api.executions.document_facts import (
    CallClosed,
    CallOpened,
    DocumentFact,
    Opened,
    TimerClosed,
    TimerOpened,
)
from stigma_api.executions.document_history import DocumentHistoryReader

_TIMER_KINDS = {
    TimerKind.WAIT: DOCUMENT_TIMER_KIND_WAIT,
    TimerKind.RETRY: DOCUMENT_TIMER_KIND_RETRY,
    TimerKind.TIMEOUT: DOCUMENT_TIMER_KIND_TIMEOUT,
}


class DocumentEventMapper:
    """Maps the events of one run of a document, in order."""

    def __init__(self, client: Client) -> None:
        self._reader = DocumentHistoryReader(client)
        self._run_id = ""
        """Of the run in which the calls began: a reset copies them into another."""
        self.last_mapped_at = 0
        """Time of the last history event that was mapped, in nanoseconds since the epoch."""

    async def map(
        self, event: HistoryEvent, *, is_new: bool = True
    ) -> Sequence[WatchWorkflowExecutionResponse]:
        """Return the watch events of a history event.

        Args:
            event: the next one of the run.
            is_new: False for one that is only kept in mind for those after it: nothing is returned.
        """
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            started = event.workflow_execution_started_event_attributes
            self._run_id = started.original_execution_run_id
        facts = await self._reader.read(event)
        if facts:
            self.last_mapped_at = event.event_time.ToNanoseconds()
        return [await self._map(fact) for fact in facts] if is_new else []

    def map_progress(
        self,
        progress: ModelProgress,  # noqa: ARG002
    ) -> Sequence[WatchWorkflowExecutionResponse]:
        """Return nothing: a document has no model."""
        return []

    async def _map(self, fact: DocumentFact) -> WatchWorkflowExecutionResponse:
        match fact:
            case CallOpened():
                started = DocumentCallStarted(call=self._call(fact))
                return WatchWorkflowExecutionResponse(call_started=started)
            case CallClosed():
                return WatchWorkflowExecutionResponse(call_ended=await self._call_ended(fact))
            case TimerOpened():
                timer = DocumentTimerStarted(timer=self._timer(fact))
                return WatchWorkflowExecutionResponse(timer_started=timer)
            case TimerClosed(timer=opened, fired=fired):
                ended = DocumentTimerEnded(timer=self._timer(opened), fired=fired)
                return WatchWorkflowExecutionResponse(timer_ended=ended)

    async def _call_ended(self, closed: CallClosed) -> DocumentCallEnded:
        details = await self._reader.details(closed)
        return DocumentCallEnded(
            call=self._call(closed.call),
            outcome=closed.outcome,
            error=details.error,
            status=details.status,
            execution_id=details.execution_id,
            attempt=closed.attempt,
        )

    def _call(self, opened: CallOpened) -> DocumentCall:
        number, most = opened.tries or (0, 0)
        return DocumentCall(
            id=self._id(opened),
            kind=opened.kind,
            task=opened.task,
            agent=opened.agent,
            try_number=number,
            max_tries=most,
        )

    def _timer(self, opened: TimerOpened) -> DocumentTimer:
        after = self._call(opened.after.call) if opened.after is not None else None
        timer = DocumentTimer(id=self._id(opened), fire_time=opened.fire_time, after=after)
        if (use := opened.use) is not None:
            timer.kind, timer.task = _TIMER_KINDS[use.kind], use.task
            timer.try_number, timer.max_tries = use.tries or (0, 0)
        return timer

    def _id(self, opened: Opened) -> str:
        return f"{self._run_id}-{opened.event_id}"
