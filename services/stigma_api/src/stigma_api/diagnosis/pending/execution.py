"""Pending steps of an execution's own workflow: calls of models and tools, runs, deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import (
    PendingActivityInfo,
    PendingChildExecutionInfo,
    PendingNexusOperationInfo,
)
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_STEP_KIND_ACTIVITY,
    PENDING_STEP_KIND_AGENT_CALL,
    PENDING_STEP_KIND_DELIVERY,
    PENDING_STEP_KIND_MODEL_CALL,
    PENDING_STEP_KIND_SESSION_TURN,
    PENDING_STEP_KIND_SUMMARY,
    PENDING_STEP_KIND_TOOL_CALL,
    PENDING_STEP_KIND_WORKFLOW,
    PendingStep,
)
from stigma.contracts.activities import (
    DELIVERIES,
    MODEL_CALLS,
    SUMMARIZE,
    WATCH_CALLER,
    WATCH_TURN,
)
from stigma.contracts.executions import Kind
from stigma.contracts.tools import called_by_activity, called_by_child
from stigma_api.diagnosis.pending.newest_events import newest_events
from stigma_api.diagnosis.pending.task_queues import WorkerWaits
from stigma_api.executions import history_facts as facts
from stigma_api.executions.history import HistoryReader
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.failures import failure_class
from stigma_api.temporal.histories import Histories, Run, cooperative_iter

# Events read: a step that began before them is without what only they tell, as a tool's name.
_MAX_EVENTS = 200
_WATCHES = frozenset({WATCH_CALLER, WATCH_TURN})
_KINDS = {
    **dict.fromkeys(MODEL_CALLS, (PENDING_STEP_KIND_MODEL_CALL, "a model call")),
    SUMMARIZE: (PENDING_STEP_KIND_SUMMARY, "a summary"),
    **dict.fromkeys(DELIVERIES, (PENDING_STEP_KIND_DELIVERY, "the delivery to its caller")),
}


@dataclass
class _Opened:
    """Steps that the newest events record."""

    by_activity: dict[str, facts.Step] = field(default_factory=dict)
    by_event: dict[int, facts.Step] = field(default_factory=dict)
    times: dict[int, Timestamp] = field(default_factory=dict)
    """By event."""

    def start(self, step: facts.Step | None) -> Timestamp | None:
        """Return when a step began; None where that was not read."""
        return self.times.get(step.event_id) if step is not None else None


class OwnStepReader:
    """Reads the pending steps of executions' own workflows."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._histories = Histories(client)

    async def read(
        self, description: ExecutionDescription[Any], waits: WorkerWaits
    ) -> list[PendingStep]:
        """Return what an execution's own workflow waits for.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        described = description.described
        task = await waits.workflow_task(described)
        steps = [] if task is None else [task]
        if description.phase == "PENDING" and not description.is_pending:
            steps.append(_session_turn(description))
        activities = [each for each in described.pending_activities if not _is_watch(each)]
        children, operations = described.pending_children, described.pending_nexus_operations
        if not (activities or children or operations):
            return steps
        opened = await self._opened(description)
        for each in activities:
            step = await _activity(each, opened)
            await waits.add_attempt(step, each)
            steps.append(step)
        for child in children:
            steps.append(await _child(description.execution_id, child, opened))  # noqa: PERF401
        for operation in operations:
            steps.append(await _operation(operation, opened))  # noqa: PERF401
        return steps

    async def _opened(self, description: ExecutionDescription[Any]) -> _Opened:
        run = Run(self._client.namespace, description.execution_id, description.run_id)
        reader = HistoryReader(self._client, description.execution_id, description.digest)
        opened = _Opened()
        is_enough = _Sought(description)
        events = await newest_events(self._histories, run, _MAX_EVENTS, is_enough)
        async for event in cooperative_iter(events):
            fact = await reader.read(event)
            if isinstance(fact, facts.Step):
                opened.by_event[event.event_id] = fact
                opened.times[event.event_id] = event.event_time
                if fact.activity_id:
                    opened.by_activity[fact.activity_id] = fact
        return opened


class _Sought:
    """Tells when the starts of all that is pending were read; names of tools stand before them."""

    def __init__(self, description: ExecutionDescription[Any]) -> None:
        described = description.described
        activities = described.pending_activities
        self._activities = {each.activity_id for each in activities if not _is_watch(each)}
        self._events = {each.initiated_id for each in described.pending_children}
        has_calls = any(map(called_by_activity, self._activities)) or bool(
            self._events or described.pending_nexus_operations
        )
        self._has_calls = has_calls and description.kind.kind is Kind.AGENT

    def __call__(self, event: HistoryEvent) -> bool:
        scheduled = event.activity_task_scheduled_event_attributes
        self._activities.discard(scheduled.activity_id)
        self._events.discard(event.event_id)
        return not (self._activities or self._events or self._has_calls)


def _is_watch(pending: PendingActivityInfo) -> bool:
    """Return whether an activity watches others: the execution does not wait for it."""
    return pending.activity_type.name in _WATCHES and not called_by_activity(pending.activity_id)


def _session_turn(description: ExecutionDescription[Any]) -> PendingStep:
    return PendingStep(
        kind=PENDING_STEP_KIND_SESSION_TURN,
        title=f"its turn in session {description.execution.spec.session_id}",
        start_time=description.start_time,
    )


async def _activity(pending: PendingActivityInfo, opened: _Opened) -> PendingStep:
    found = opened.by_activity.get(pending.activity_id)
    call = called_by_activity(pending.activity_id)
    start_time = opened.start(found)
    if call:
        title = await _call_title(call, found)
        return PendingStep(
            kind=PENDING_STEP_KIND_TOOL_CALL, title=title, call_id=call, start_time=start_time
        )
    name = pending.activity_type.name
    kind, title = _KINDS.get(name, (PENDING_STEP_KIND_ACTIVITY, f"activity {name}"))
    match found:
        case facts.ModelCallStarted(number=number, model=model):
            title = f"model call {number}, {model}"
        case facts.SummaryStarted(number=number):
            title = f"summary for model call {number}"
    return PendingStep(kind=kind, title=title, start_time=start_time)


async def _child(
    execution_id: str, child: PendingChildExecutionInfo, opened: _Opened
) -> PendingStep:
    found = opened.by_event.get(child.initiated_id)
    step = PendingStep(
        kind=PENDING_STEP_KIND_WORKFLOW,
        title=f"workflow {child.workflow_type_name}",
        start_time=opened.start(found),
        workflow_id=child.workflow_id,
    )
    if call := called_by_child(execution_id, child.workflow_id):
        step.call_id, step.title = call, await _call_title(call, found)
        step.kind = PENDING_STEP_KIND_TOOL_CALL
        if child.workflow_type_name == Kind.AGENT.workflow_type:
            step.kind, step.execution_id = PENDING_STEP_KIND_AGENT_CALL, child.workflow_id
    return step


async def _operation(operation: PendingNexusOperationInfo, opened: _Opened) -> PendingStep:
    found = opened.by_event.get(operation.scheduled_event_id)
    call = found.call_id if isinstance(found, facts.ToolCallStarted) else ""
    title = await _call_title(call, found) if call else "a tool call"
    step = PendingStep(
        kind=PENDING_STEP_KIND_TOOL_CALL,
        title=f"{title} on Nexus endpoint {operation.endpoint}",
        start_time=operation.scheduled_time,
        call_id=call,
        attempt=operation.attempt,
    )
    if operation.HasField("last_attempt_failure"):
        step.last_failure = failure_class(operation.last_attempt_failure)
    if operation.HasField("next_attempt_schedule_time"):
        step.due_time.CopyFrom(operation.next_attempt_schedule_time)
    return step


async def _call_title(call: str, found: facts.Step | None) -> str:
    name = await found.read_name() if isinstance(found, facts.ToolCallStarted) else ""
    return f"tool call {call}, {name}" if name else f"tool call {call}"
