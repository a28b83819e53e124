"""Why one open execution does not get on, by what Temporal says is pending in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingWorkflowTaskInfo
from temporalio.client import Client

from stigma.contracts.activities import CALL_MODEL, DELIVERIES, WATCH_CALLER
from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1.diagnosis_service_pb2 import StuckReason
from stigma_api.diagnosis.stuck.callers import StuckCallers
from stigma_api.diagnosis.stuck.queues import ACTIVITIES, WORKFLOWS, Queues
from stigma_api.diagnosis.timeline.entries import failure_class
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.calls import describe

# A worker with room takes what waits at once, and a workflow ends at its deadline.
WAIT = timedelta(seconds=5)
# A workflow's task waits for the worker that has it in its cache, if that one died, so long.
_CACHED = timedelta(seconds=12)

_SCHEDULED = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
_STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
_LIMITED = frozenset({"RATE_LIMITED", "PROVIDER_UNAVAILABLE"})
# How an attempt ends whose worker was stopped, as at each rollout: nothing is wrong with the call.
_HANDED_ON = "WorkerShutdown"
_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Finding:
    """Why an execution does not get on, and a command that helps."""

    reason: StuckReason.ValueType
    message: str
    command: str


class Reasons:
    """Judges executions, all of them in one look."""

    def __init__(
        self, client: Client, queues: TaskQueues, polled: Queues, callers: StuckCallers
    ) -> None:
        self._client = client
        self._queues = queues
        self._polled = polled
        self._callers = callers

    def note(self, subject: ExecutionDescription[Any]) -> None:
        """Take in what one execution shows about the workers that serve others as well."""
        for each in subject.described.pending_activities:
            if each.state == _STARTED and each.activity_type.name == CALL_MODEL:
                self._polled.busy(self._queues.ai)

    async def of(self, subject: ExecutionDescription[Any]) -> Finding | None:
        """Return why an execution does not get on; None for one that does.

        What keeps all the rest from happening comes first.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        pending = subject.described.pending_activities
        task = subject.described.pending_workflow_task
        return (
            await self._workflow_task(task, self._queues.orchestrator, subject.execution_id)
            or await self._delivery(subject, pending)
            or self._past_deadline(subject)
            or await self._caller(subject)
            or self._person(subject)
            or await self._model_call(subject, pending)
            or await self._engine_run(subject)
            or await self._watch(pending)
        )

    async def _workflow_task(
        self, task: PendingWorkflowTaskInfo, queue: str, workflow_id: str
    ) -> Finding | None:
        if not task.HasField("original_scheduled_time"):
            return None
        waits = _waits_since(task.scheduled_time, _CACHED)
        if await self._polled.is_deserted(queue, WORKFLOWS, waits or _LONG_AGO):
            return self._no_worker(queue)
        if task.attempt > 1:
            return Finding(
                StuckReason.STUCK_REASON_WORKFLOW_TASK_FAILING,
                f"the code of workflow {workflow_id} fails on this version, "
                f"{task.attempt - 1} times so far",
                f"temporal workflow show --namespace {self._client.namespace} "
                f"--workflow-id {workflow_id}",
            )
        return self._backlog(queue, waits) if waits is not None else None

    async def _delivery(
        self, subject: ExecutionDescription[Any], pending: Iterable[PendingActivityInfo]
    ) -> Finding | None:
        for each in _of_type(pending, *DELIVERIES):
            if each.attempt > 1:
                return Finding(
                    StuckReason.STUCK_REASON_DELIVERY_RETRYING,
                    f"its outcome cannot be delivered: {_so_far(each)}",
                    f"stigma execution timeline {subject.execution_id}",
                )
            return await self._in_queue(each, self._queues.orchestrator)
        return None

    def _past_deadline(self, subject: ExecutionDescription[Any]) -> Finding | None:
        status = subject.execution.status
        if not status.HasField("deadline"):
            return None
        late = datetime.now(UTC) - status.deadline.ToDatetime(UTC)
        if late < WAIT:
            return None
        return Finding(
            StuckReason.STUCK_REASON_PAST_DEADLINE,
            f"past its deadline for {_told(late)}, and no worker has ended it",
            f"stigma execution cancel {subject.execution_id}",
        )

    async def _caller(self, subject: ExecutionDescription[Any]) -> Finding | None:
        if not await self._callers.are_gone(subject):
            return None
        return Finding(
            StuckReason.STUCK_REASON_CALLER_GONE,
            "nobody waits for it any more, and it goes on",
            f"stigma execution cancel {subject.execution_id}",
        )

    def _person(self, subject: ExecutionDescription[Any]) -> Finding | None:
        if subject.phase != "INPUT_REQUIRED":
            return None
        return Finding(
            StuckReason.STUCK_REASON_INPUT_REQUIRED,
            "waits for a person's answer or approval",
            f"stigma execution get {subject.execution_id} --full",
        )

    async def _model_call(
        self, subject: ExecutionDescription[Any], pending: Iterable[PendingActivityInfo]
    ) -> Finding | None:
        for each in _of_type(pending, CALL_MODEL):
            if (found := await self._in_queue(each, self._queues.ai)) is not None:
                return found
            if each.attempt > 1 and failure_class(each.last_failure) != _HANDED_ON:
                limited = failure_class(each.last_failure) in _LIMITED
                reason = (
                    StuckReason.STUCK_REASON_PROVIDER_LIMITED
                    if limited
                    else StuckReason.STUCK_REASON_STEP_RETRYING
                )
                what = "the model's provider refuses calls" if limited else "a model call fails"
                command = f"stigma execution timeline {subject.execution_id}"
                return Finding(reason, f"{what}: {_so_far(each)}", command)
        return None

    async def _engine_run(self, subject: ExecutionDescription[Any]) -> Finding | None:
        for child in subject.described.pending_children:
            run = await describe(self._client, child.workflow_id, child.run_id)
            if run is None:
                continue
            task, queue = run.pending_workflow_task, self._queues.engine
            found = await self._workflow_task(task, queue, child.workflow_id)
            for each in run.pending_activities:
                queue_of_step = each.activity_options.task_queue.name or queue
                found = found or await self._in_queue(each, queue_of_step)
                if found is None and each.attempt > 1 and each.HasField("last_failure"):
                    found = Finding(
                        StuckReason.STUCK_REASON_STEP_RETRYING,
                        f"activity {each.activity_type.name} of its document fails: "
                        f"{_so_far(each)}",
                        f"temporal workflow describe --namespace {self._client.namespace} "
                        f"--workflow-id {child.workflow_id}",
                    )
            if found is not None:
                return found
        return None

    async def _watch(self, pending: Iterable[PendingActivityInfo]) -> Finding | None:
        """Without the watch a caller's heartbeats end, and so does its wait."""
        for each in _of_type(pending, WATCH_CALLER):
            return await self._in_queue(each, self._queues.watch)
        return None

    async def _in_queue(self, each: PendingActivityInfo, queue: str) -> Finding | None:
        """Judge an activity that no worker has taken."""
        if each.state != _SCHEDULED:
            return None
        waits = _waits_since(each.scheduled_time)
        if await self._polled.is_deserted(queue, ACTIVITIES, waits or _LONG_AGO):
            return self._no_worker(queue)
        return self._backlog(queue, waits) if waits is not None else None

    def _no_worker(self, queue: str) -> Finding:
        service = self._service(queue)
        start = f": start {service}" if service else ""
        return Finding(
            StuckReason.STUCK_REASON_NO_WORKER,
            f"no worker polls task queue {queue}{start}",
            self._describe_queue(queue),
        )

    def _backlog(self, queue: str, since: datetime) -> Finding:
        waited = _told(datetime.now(UTC) - since)
        return Finding(
            StuckReason.STUCK_REASON_BACKLOG,
            f"waits in task queue {queue} for {waited}: its workers have no room",
            self._describe_queue(queue),
        )

    def _describe_queue(self, queue: str) -> str:
        namespace = self._client.namespace
        return f"temporal task-queue describe --namespace {namespace} --task-queue {queue}"

    def _service(self, queue: str) -> str:
        return {
            self._queues.orchestrator: "stigma_orchestrator",
            self._queues.watch: "stigma_orchestrator",
            self._queues.ai: "ai_worker",
            self._queues.engine: "zigflow_worker",
        }.get(queue, "")


def _of_type(pending: Iterable[PendingActivityInfo], *names: str) -> list[PendingActivityInfo]:
    return [each for each in pending if each.activity_type.name in names]


def _waits_since(scheduled: Timestamp, for_long: timedelta = WAIT) -> datetime | None:
    """Return since when something waits in a queue, unless it has only come, or is to come."""
    since = scheduled.ToDatetime(UTC)
    return since if datetime.now(UTC) - since > for_long else None


def _so_far(each: PendingActivityInfo) -> str:
    return f"attempt {each.attempt}, the last one ended by {failure_class(each.last_failure)}"


def _told(time: timedelta) -> str:
    """Return a duration for people: its two largest units."""
    seconds = int(time.total_seconds())
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    parts = []
    for size, name in units:
        if seconds >= size:
            parts.append(f"{seconds // size} {name}")
            seconds %= size
    return " ".join(parts[:2]) or "0 s"
