"""Pending steps of a document: its calls and timers, from the engine's run."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
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
from stigma_api.diagnosis.called_executions import called_execution
from stigma_api.diagnosis.pending.newest_events import newest_events
from stigma_api.diagnosis.pending.task_queues import WorkerWaits
from stigma_api.executions.document_facts import CallOpened, DocumentFact, TimerClosed, TimerOpened
from stigma_api.executions.document_history import DocumentHistoryReader, error_status
from stigma_api.temporal.calls import describe
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
                step.last_status = await error_status(self._client, pending.last_failure)
                steps.append(step)
        return [*steps, *await opened.timers()]

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
    """The open calls and timers of one run."""

    def __init__(self, client: Client) -> None:
        self._reader = DocumentHistoryReader(client)
        self.calls: dict[str, tuple[CallOpened, Timestamp]] = {}
        """By activity, with the time of their start."""
        self._timers: dict[int, tuple[TimerOpened, Timestamp]] = {}

    async def add(self, event: HistoryEvent) -> None:
        """Add the run's next event."""
        for fact in await self._reader.read(event):
            self._add_fact(fact, event.event_time)

    async def timers(self) -> list[PendingStep]:
        """Return the open timers."""
        return [await self._timer(*each) for each in self._timers.values()]

    def _add_fact(self, fact: DocumentFact, time: Timestamp) -> None:
        match fact:
            case CallOpened():
                self.calls[fact.activity_id] = fact, time
            case TimerOpened():
                self._timers[fact.event_id] = fact, time
            case TimerClosed(timer=timer):
                self._timers.pop(timer.event_id, None)

    async def _timer(self, timer: TimerOpened, time: Timestamp) -> PendingStep:
        step = PendingStep(
            kind=PENDING_STEP_KIND_TIMER,
            title=timer.title,
            start_time=time,
            due_time=timer.fire_time,
        )
        if timer.after is not None:
            details = await self._reader.details(timer.after)
            step.task = timer.after.call.task
            step.last_failure, step.last_status = details.error, details.status
        if timer.use is not None:
            step.task = timer.use.task
        return step
