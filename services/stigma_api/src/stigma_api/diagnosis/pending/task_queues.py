"""Steps that wait for a worker: in which task queue, and whether anybody polls it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from stigma.agent.v1.agent_execution_pb2 import PENDING_STEP_KIND_WORKFLOW_TASK, PendingStep
from stigma_api.diagnosis.attempt_texts import interruption
from stigma_api.diagnosis.stuck.queues import ACTIVITIES, WORKFLOWS, Queues
from stigma_api.temporal.failures import failure_class

# Wait of a workflow task for the worker that has the workflow in its cache, should it have died.
_STICKY_WAIT = timedelta(seconds=12)
_LONG_AGO = datetime.fromtimestamp(0, UTC)


class WorkerWaits:
    """Finds what waits for a worker, at one time.

    Args:
        queues: of that time.
        now: that time, as Temporal has it.
    """

    def __init__(self, queues: Queues, now: datetime) -> None:
        self._queues = queues
        self._now = now

    async def add_attempt(self, step: PendingStep, pending: PendingActivityInfo) -> None:
        """Add to a step which attempt its activity is at, and what that waits for.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        step.attempt = max(pending.attempt, 1)
        if not step.HasField("start_time"):
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
        step.no_worker = await self._queues.has_no_worker(queue, ACTIVITIES, self._waits(since))

    async def workflow_task(self, run: DescribeWorkflowExecutionResponse) -> PendingStep | None:
        """Return the step of a workflow whose next task no worker takes or completes.

        None for a task that a worker may be about to take.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        task, queue = run.pending_workflow_task, run.execution_config.task_queue.name
        if not task.HasField("original_scheduled_time"):
            return None
        since = task.scheduled_time.ToDatetime(UTC)
        is_late = self._now - since > _STICKY_WAIT
        no_worker = await self._queues.has_no_worker(
            queue, WORKFLOWS, since if is_late else _LONG_AGO
        )
        if not (no_worker or is_late or task.attempt > 1):
            return None
        return PendingStep(
            kind=PENDING_STEP_KIND_WORKFLOW_TASK,
            title=f"a worker of workflow {run.workflow_execution_info.execution.workflow_id}",
            start_time=task.original_scheduled_time,
            attempt=max(task.attempt, 1),
            last_failure="its code fails on this version" if task.attempt > 1 else "",
            task_queue=queue,
            no_worker=no_worker,
        )

    def _waits(self, scheduled: Timestamp) -> datetime:
        """Return the time after which a worker must have polled; a new task waits for none."""
        since = scheduled.ToDatetime(UTC)
        return since if self._now - since > timedelta(seconds=5) else _LONG_AGO

    def _is_ahead(self, time: Timestamp) -> bool:
        return time.ToDatetime(UTC) > self._now
