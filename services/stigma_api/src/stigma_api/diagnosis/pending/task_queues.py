"""Steps that wait for a worker: in which task queue, and whether anybody polls it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import (
    PendingActivityState,
    PendingWorkflowTaskState,
    TaskQueueType,
)
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import PENDING_STEP_KIND_WORKFLOW_TASK, PendingStep
from stigma_api.diagnosis.attempt_texts import interruption
from stigma_api.diagnosis.stuck.queues import ACTIVITIES, WORKFLOWS, Queues
from stigma_api.diagnosis.workflow_tasks import TaskEnd, read_last_end, waits_since
from stigma_api.temporal.failures import failure_class
from stigma_api.temporal.histories import Histories

# Age from which a workflow task is a step: a worker takes and completes one well within it.
_MIN_TASK_AGE = timedelta(seconds=2)
_LONG_AGO = datetime.fromtimestamp(0, UTC)


class WorkerWaits:
    """Finds what waits for a worker, at one time.

    Args:
        client: Temporal's.
        queues: of that time.
        now: that time, as Temporal has it.
    """

    def __init__(self, client: Client, queues: Queues, now: datetime) -> None:
        self._namespace = client.namespace
        self._histories = Histories(client)
        self._queues = queues
        self._now = now

    async def add_attempt(self, step: PendingStep, pending: PendingActivityInfo) -> None:
        """Add to a step which attempt its activity is at, and what that waits for.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        step.attempt = max(pending.attempt, 1)
        # Of a later attempt it is its own schedule, not the activity's.
        if step.attempt == 1 and not step.HasField("start_time"):
            step.start_time.CopyFrom(pending.scheduled_time)
        if pending.HasField("last_failure"):
            ended = interruption(pending) or failure_class(pending.last_failure)
            step.last_failure = ended
        if pending.state != PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
            return
        if self._is_ahead(pending.next_attempt_schedule_time):
            step.due_time.CopyFrom(pending.next_attempt_schedule_time)
            return
        queue, since = pending.activity_options.task_queue.name, pending.scheduled_time
        step.task_queue = queue
        step.no_worker = await self._has_no_worker(queue, ACTIVITIES, self._waits(since))

    async def workflow_task(
        self, run: DescribeWorkflowExecutionResponse, min_age: timedelta = _MIN_TASK_AGE
    ) -> PendingStep | None:
        """Return the step of a workflow whose next task no worker takes or completes.

        Args:
            run: the workflow's.
            min_age: of the task; None is returned for one that is younger and in its first attempt.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        task, queue = run.pending_workflow_task, run.execution_config.task_queue.name
        if not task.HasField("original_scheduled_time"):
            return None
        end = await self._last_end(run) if task.attempt > 1 else None
        since = waits_since(task, self._now, end) or _LONG_AGO
        no_worker = await self._has_no_worker(queue, WORKFLOWS, since)
        age = self._now - task.original_scheduled_time.ToDatetime(UTC)
        if not (no_worker or age >= min_age or task.attempt > 1):
            return None
        step = PendingStep(
            kind=PENDING_STEP_KIND_WORKFLOW_TASK,
            title=f"a worker of workflow {run.workflow_execution_info.execution.workflow_id}",
            attempt=max(task.attempt, 1),
            last_failure=end.text if end is not None else "",
            no_worker=no_worker,
        )
        # Of a later attempt Temporal has its own schedule, not the task's.
        if task.attempt <= 1:
            step.start_time.CopyFrom(task.original_scheduled_time)
        elif end is not None and end.scheduled_time is not None:
            step.start_time.FromDatetime(end.scheduled_time)
        is_taken = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
        if is_taken and not no_worker:
            step.taken_time.CopyFrom(task.started_time)
        else:
            step.task_queue = queue
        return step

    async def _has_no_worker(
        self, queue: str, kind: TaskQueueType.ValueType, since: datetime
    ) -> bool:
        """Return whether no worker serves a queue; False where Temporal does not let us see it."""
        try:
            return await self._queues.has_no_worker(queue, kind, since)
        except RPCError as error:
            if error.status is not RPCStatusCode.PERMISSION_DENIED:
                raise
            return False

    async def _last_end(self, run: DescribeWorkflowExecutionResponse) -> TaskEnd | None:
        try:
            return await read_last_end(self._histories, self._namespace, run)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None  # it ended meanwhile, and is gone

    def _waits(self, scheduled: Timestamp) -> datetime:
        """Return the time after which a worker must have polled; a new task waits for none."""
        since = scheduled.ToDatetime(UTC)
        return since if self._now - since > timedelta(seconds=5) else _LONG_AGO

    def _is_ahead(self, time: Timestamp) -> bool:
        return time.ToDatetime(UTC) > self._now
