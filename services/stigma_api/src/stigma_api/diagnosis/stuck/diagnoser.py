"""Diagnosis of one open execution: the reason why it makes no progress, from what is pending."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState, PendingNexusOperationState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingNexusOperationInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client

from stigma.contracts.activities import DELIVERIES, MODEL_CALLS, SUMMARIZE, WATCH_CALLER
from stigma.contracts.agent_runtime import is_child
from stigma.contracts.task_queues import TaskQueues
from stigma.contracts.tools import called_by_activity, called_by_child
from stigma.diagnosis.v1.diagnosis_service_pb2 import StuckReason
from stigma_api.diagnosis.attempt_texts import (
    WORKER_SHUTDOWN,
    attempts_text,
    failing_text,
    interruption,
)
from stigma_api.diagnosis.stuck.callers import WaitingCallers
from stigma_api.diagnosis.stuck.diagnosis import Diagnosis, duration_text
from stigma_api.diagnosis.stuck.document_steps import DocumentSteps
from stigma_api.diagnosis.stuck.people import answer_command, read_inputs
from stigma_api.diagnosis.stuck.queues import Queues
from stigma_api.diagnosis.stuck.worker_waits import WorkerWaitDiagnoser
from stigma_api.diagnosis.timeline.input_entries import waits_text
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.calls import describe
from stigma_api.temporal.failures import failure_class
from stigma_api.temporal.histories import Run

# Shortest time past a deadline that counts: a workflow ends in time.
_MIN_LATE = timedelta(seconds=5)

_STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
_MODEL_CALLS = MODEL_CALLS | {SUMMARIZE}
_LIMITED = frozenset({"RATE_LIMITED", "PROVIDER_UNAVAILABLE"})
_DOCUMENT = "its document"
# The attempt after the first one: from the third on, a call may be what its workers die of.
_SECOND = 2


class Diagnoser:
    """Diagnoses the executions of one scan."""

    def __init__(
        self,
        client: Client,
        queues: TaskQueues,
        polled: Queues,
        callers: WaitingCallers,
        now: datetime,
    ) -> None:
        self._client = client
        self._now = now
        self._queues = queues
        self._polled = polled
        self._callers = callers
        self._waits = WorkerWaitDiagnoser(client, queues, polled, now)
        self._steps = DocumentSteps(client)

    def observe(self, description: ExecutionDescription[Any]) -> None:
        """Note what an execution shows about workers, which serve the others as well."""
        for each in description.described.pending_activities:
            if each.state != _STARTED:
                continue
            if called_by_activity(each.activity_id):
                self._polled.mark_busy(each.activity_options.task_queue.name)
            elif each.activity_type.name in _MODEL_CALLS:
                self._polled.mark_busy(self._queues.ai)

    async def diagnose(self, description: ExecutionDescription[Any]) -> Diagnosis | None:
        """Return the diagnosis of an execution; None for one that makes progress.

        The reason that blocks all the rest comes first.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        pending = description.described.pending_activities
        return (
            await self._waits.workflow_task(description.described)
            or await self._delivery(description, pending)
            or self._past_deadline(description)
            or await self._caller(description)
            or await self._people(description)
            or await self._model_call(description, pending)
            or await self._tool_call(description, pending)
            or await self._child(description)
            or await self._watch(pending)
        )

    async def _delivery(
        self, description: ExecutionDescription[Any], pending: Iterable[PendingActivityInfo]
    ) -> Diagnosis | None:
        for each in _of_type(pending, *DELIVERIES):
            if each.attempt > 1:
                return Diagnosis(
                    StuckReason.STUCK_REASON_DELIVERY_RETRYING,
                    f"its outcome cannot be delivered: {attempts_text(each)}",
                    f"stigma execution timeline {description.execution_id}",
                )
            return await self._waits.activity(each, self._queues.orchestrator)
        return None

    def _past_deadline(self, description: ExecutionDescription[Any]) -> Diagnosis | None:
        status = description.execution.status
        if not status.HasField("deadline"):
            return None
        late = self._now - status.deadline.ToDatetime(UTC)
        if late < _MIN_LATE:
            return None
        return Diagnosis(
            StuckReason.STUCK_REASON_PAST_DEADLINE,
            f"past its deadline for {duration_text(late)}, and no worker has ended it",
            f"stigma execution cancel {description.execution_id}",
        )

    async def _caller(self, description: ExecutionDescription[Any]) -> Diagnosis | None:
        if not await self._callers.are_gone(description):
            return None
        return Diagnosis(
            StuckReason.STUCK_REASON_CALLER_GONE,
            "nobody waits for it any more, and it goes on",
            f"stigma execution cancel {description.execution_id}",
        )

    async def _people(self, description: ExecutionDescription[Any]) -> Diagnosis | None:
        """Say of an execution that waits for people what for: it is not stuck."""
        if description.phase != "INPUT_REQUIRED":
            return None
        inputs = await read_inputs(self._client, description)
        text = "waits for people"
        if inputs:
            asked = self._now - inputs[0].request_time.ToDatetime(UTC)
            text = f"{waits_text(inputs[0])}, asked {duration_text(asked)} ago"
        if len(inputs) > 1:
            text = f"{text}, and for {len(inputs) - 1} more"
        command = answer_command(description.execution_id, inputs)
        return Diagnosis(StuckReason.STUCK_REASON_INPUT_REQUIRED, text, command)

    async def _model_call(
        self, description: ExecutionDescription[Any], pending: Iterable[PendingActivityInfo]
    ) -> Diagnosis | None:
        for each in _of_type(pending, *_MODEL_CALLS):
            if (found := await self._waits.activity(each, self._queues.ai)) is not None:
                return found
            if each.attempt > 1 and failure_class(each.last_failure) != WORKER_SHUTDOWN:
                limited = failure_class(each.last_failure) in _LIMITED
                reason = (
                    StuckReason.STUCK_REASON_PROVIDER_LIMITED
                    if limited
                    else StuckReason.STUCK_REASON_STEP_RETRYING
                )
                text = (
                    f"the model's provider refuses calls: {attempts_text(each)}"
                    if limited
                    else failing_text("a model call", each)
                )
                command = f"stigma execution timeline {description.execution_id}"
                return Diagnosis(reason, text, command)
        return None

    async def _tool_call(
        self, description: ExecutionDescription[Any], pending: Iterable[PendingActivityInfo]
    ) -> Diagnosis | None:
        command = f"stigma execution timeline {description.execution_id}"
        for each in pending:
            call = called_by_activity(each.activity_id)
            if not call:
                continue
            found = await self._waits.activity(each, each.activity_options.task_queue.name)
            if found is not None:
                return replace(found, message=f"tool call {call}: {found.message}")
            if each.attempt > 1 and each.HasField("last_failure"):
                message = failing_text(f"tool call {call}", each)
                return Diagnosis(StuckReason.STUCK_REASON_STEP_RETRYING, message, command)
        for operation in description.described.pending_nexus_operations:
            if operation.attempt > 1 and operation.HasField("last_attempt_failure"):
                failure = failure_class(operation.last_attempt_failure)
                message = (
                    f"the tool call of Nexus endpoint {operation.endpoint} fails: the last "
                    f"attempt ended by {failure}, attempt {operation.attempt} {_state(operation)}"
                )
                return Diagnosis(StuckReason.STUCK_REASON_STEP_RETRYING, message, command)
        return None

    async def _child(self, description: ExecutionDescription[Any]) -> Diagnosis | None:
        """Diagnose the engine's run, or the workflow that a tool call runs."""
        for child in description.described.pending_children:
            run = await describe(self._client, child.workflow_id, child.run_id)
            if run is None:
                continue
            call = called_by_child(description.execution_id, child.workflow_id)
            is_agent = is_child(description.execution_id, child.workflow_id)
            of = "the tool" if call else "the agent" if is_agent else _DOCUMENT
            found = await self._run(run, child.workflow_id, of=of)
            if found is not None:
                prefix = f"tool call {call}: " if call else "its workflow: " if is_agent else ""
                return replace(found, message=prefix + found.message)
        return None

    async def _run(
        self, run: DescribeWorkflowExecutionResponse, workflow_id: str, *, of: str
    ) -> Diagnosis | None:
        queue = run.execution_config.task_queue.name
        info = run.workflow_execution_info
        own = Run(self._client.namespace, workflow_id, info.execution.run_id)
        found = await self._waits.workflow_task(run)
        for each in run.pending_activities:
            queue_of_step = each.activity_options.task_queue.name or queue
            found = found or await self._waits.activity(each, queue_of_step)
            if found is None and each.attempt > 1 and each.HasField("last_failure"):
                found = await self._retried(each, own, of=of)
        return found

    async def _retried(self, each: PendingActivityInfo, run: Run, *, of: str) -> Diagnosis | None:
        """Diagnose an activity that is tried again; a call that lost one worker makes progress."""
        what = f"activity {each.activity_type.name} of {of}"
        if of == _DOCUMENT:
            if each.attempt == _SECOND and interruption(each):
                return None
            what = await self._steps.title(run, each)
        return Diagnosis(
            StuckReason.STUCK_REASON_STEP_RETRYING,
            failing_text(what, each),
            f"temporal workflow describe --namespace {run.namespace} "
            f"--workflow-id {run.workflow_id}",
        )

    async def _watch(self, pending: Iterable[PendingActivityInfo]) -> Diagnosis | None:
        """Diagnose the watch: without it a caller's heartbeats end, and so does its wait."""
        for each in _of_type(pending, WATCH_CALLER):
            return await self._waits.activity(each, self._queues.watch)
        return None


def _state(operation: PendingNexusOperationInfo) -> str:
    is_ahead = (
        operation.state == PendingNexusOperationState.PENDING_NEXUS_OPERATION_STATE_BACKING_OFF
    )
    return "follows" if is_ahead else "is under way"


def _of_type(pending: Iterable[PendingActivityInfo], *names: str) -> list[PendingActivityInfo]:
    """Return Stigma's own activities of these types; a tool's may be named alike."""
    return [
        each
        for each in pending
        if each.activity_type.name in names and not called_by_activity(each.activity_id)
    ]
