"""Pending steps of a document: its calls and timers, from the engine's run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_STEP_KIND_ACTIVITY,
    PENDING_STEP_KIND_AGENT_CALL,
    PENDING_STEP_KIND_GRPC_CALL,
    PENDING_STEP_KIND_HTTP_CALL,
    PENDING_STEP_KIND_OPENAPI_CALL,
    PENDING_STEP_KIND_RESOURCE,
    PENDING_STEP_KIND_TIMER,
    PendingStep,
    PendingStepKind,
)
from stigma.contracts import engine
from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.engine_calls import CALL_GRPC, CALL_HTTP, CALL_OPENAPI, FETCH_RESOURCE
from stigma.workflow.v1.workflow_execution_service_pb2 import DOCUMENT_CALL_OUTCOME_FAILED
from stigma_api.diagnosis.called_executions import called_execution
from stigma_api.diagnosis.pending.newest_events import newest_events
from stigma_api.diagnosis.pending.task_queues import WorkerWaits
from stigma_api.executions.document_history import (
    CallClosed,
    CallOpened,
    DocumentFact,
    DocumentHistoryReader,
    TimerClosed,
    TimerOpened,
)
from stigma_api.temporal.calls import describe
from stigma_api.temporal.failures import failure_class
from stigma_api.temporal.histories import Histories, Run, cooperative_iter

# Events read: a step that began before them is without its task, and a timer is missing.
_MAX_EVENTS = 1000
_KINDS: dict[str, PendingStepKind.ValueType] = {
    CALL_AGENT: PENDING_STEP_KIND_AGENT_CALL,
    CALL_HTTP: PENDING_STEP_KIND_HTTP_CALL,
    CALL_OPENAPI: PENDING_STEP_KIND_OPENAPI_CALL,
    CALL_GRPC: PENDING_STEP_KIND_GRPC_CALL,
    FETCH_RESOURCE: PENDING_STEP_KIND_RESOURCE,
}


class DocumentStepReader:
    """Reads the pending steps of documents."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._histories = Histories(client)

    async def read(self, execution_id: str, waits: WorkerWaits) -> list[PendingStep]:
        """Return what the document of an execution waits for; nothing before its run has begun.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        workflow_id = engine.run_id(execution_id)
        described = await describe(self._client, workflow_id)
        if described is None:
            return []
        run_id = described.workflow_execution_info.execution.run_id
        run = Run(self._client.namespace, workflow_id, run_id)
        opened = _OpenFacts(self._client)
        for_all = await newest_events(self._histories, run, _MAX_EVENTS)
        async for event in cooperative_iter(for_all):
            await opened.add(event)
        task = await waits.workflow_task(described)
        steps = [] if task is None else [task]
        for pending in described.pending_activities:
            call = opened.calls.get(pending.activity_id)
            if (step := await self._call(pending, call)) is not None:
                await waits.add_attempt(step, pending)
                steps.append(step)
        return [*steps, *opened.timers()]

    async def _call(
        self, pending: PendingActivityInfo, opened: tuple[CallOpened, Timestamp] | None
    ) -> PendingStep | None:
        """Return the step of an activity; None for the engine's own, which take no time."""
        name = pending.activity_type.name
        kind = _KINDS.get(name)
        if kind is None:
            is_retried = pending.attempt > 1
            title = f"activity {name} of the engine"
            return PendingStep(kind=PENDING_STEP_KIND_ACTIVITY, title=title) if is_retried else None
        if opened is None:
            return PendingStep(kind=kind, title=f"a call by activity {name}")
        call, start_time = opened
        execution_id = await called_execution(self._client, pending)
        return PendingStep(
            kind=kind,
            title=call.title,
            start_time=start_time,
            task=call.task,
            execution_id=execution_id,
        )


class _OpenFacts:
    """The open calls and timers of one run, and what each timer was started after."""

    def __init__(self, client: Client) -> None:
        self._reader = DocumentHistoryReader(client)
        self.calls: dict[str, tuple[CallOpened, Timestamp]] = {}
        """By activity, with the time of their start."""
        self._timers: dict[int, PendingStep] = {}
        self._failed: list[CallClosed] = []
        """Calls that have failed since the last workflow task."""
        self._causes: list[CallClosed] = []
        """Calls that had failed before the last workflow task, whose commands come next."""

    async def add(self, event: HistoryEvent) -> None:
        """Add the run's next event."""
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            self._causes, self._failed = self._failed, []
        for fact in await self._reader.read(event):
            self._add_fact(fact, event.event_time)

    def timers(self) -> Iterable[PendingStep]:
        """Return the open timers."""
        return self._timers.values()

    def _add_fact(self, fact: DocumentFact, time: Timestamp) -> None:
        match fact:
            case CallOpened():
                self.calls[fact.activity_id] = fact, time
            case CallClosed():
                if fact.outcome == DOCUMENT_CALL_OUTCOME_FAILED and fact.failure is not None:
                    self._failed.append(fact)
            case TimerOpened():
                self._timers[fact.event_id] = self._timer(fact, time)
            case TimerClosed(timer=timer):
                self._timers.pop(timer.event_id, None)

    def _timer(self, timer: TimerOpened, time: Timestamp) -> PendingStep:
        until = f"{timer.fire_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
        step = PendingStep(
            kind=PENDING_STEP_KIND_TIMER,
            title=f"timer up to {until}",
            start_time=time,
            due_time=timer.fire_time,
        )
        # With several it is not known which of them the timer is for.
        if len(self._causes) == 1:
            [failed] = self._causes
            step.title = f"timer after the failed {failed.call.title}"
            step.task = failed.call.task
            step.last_failure = failure_class(failed.failure) if failed.failure else ""
        return step
