"""Diagnosis of what waits for a worker: workflow tasks, and activities in their task queues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client

from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1.diagnosis_service_pb2 import StuckReason
from stigma_api.diagnosis.stuck.diagnosis import Diagnosis, duration_text
from stigma_api.diagnosis.stuck.queues import ACTIVITIES, WORKFLOWS, Queues
from stigma_api.diagnosis.workflow_tasks import TaskEnd, read_last_end, waits_since
from stigma_api.temporal.histories import Histories

# Shortest wait that counts: a worker with room takes a task at once.
_MIN_WAIT = timedelta(seconds=5)
_SCHEDULED = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
_LONG_AGO = datetime.fromtimestamp(0, UTC)


class WorkerWaitDiagnoser:
    """Diagnoses what waits for workers, at one time.

    Args:
        client: of the namespace.
        queues: Stigma's own.
        polled: the task queues' pollers.
        now: that time, as Temporal has it.
    """

    def __init__(self, client: Client, queues: TaskQueues, polled: Queues, now: datetime) -> None:
        self._client = client
        self._queues = queues
        self._polled = polled
        self._now = now
        self._histories = Histories(client)

    async def workflow_task(self, run: DescribeWorkflowExecutionResponse) -> Diagnosis | None:
        """Diagnose the next task of a workflow that no worker takes, answers or completes.

        Raises:
            RPCError, ApiError: Temporal does not tell.
        """
        task, queue = run.pending_workflow_task, run.execution_config.task_queue.name
        if not task.HasField("original_scheduled_time"):
            return None
        end = None
        if task.attempt > 1:
            end = await read_last_end(self._histories, self._client.namespace, run)
        waits = waits_since(task, self._now, end)
        if await self._polled.has_no_worker(queue, WORKFLOWS, waits or _LONG_AGO):
            return self._no_worker(queue)
        if end is not None:
            return self._failing_task(run, queue, end)
        return self._backlog(queue, waits) if waits is not None else None

    def _failing_task(
        self, run: DescribeWorkflowExecutionResponse, queue: str, end: TaskEnd
    ) -> Diagnosis:
        workflow_id = run.workflow_execution_info.execution.workflow_id
        failures = run.pending_workflow_task.attempt - 1
        count = "once" if failures == 1 else f"{failures} times"
        if end.is_unanswered:
            return self._no_answer(queue, f"{workflow_id}: {end.text}, {count} so far")
        what = (
            f"workflow {workflow_id} fails: {end.text}"
            if end.is_refused
            else f"the code of workflow {workflow_id} fails on this version"
        )
        return Diagnosis(
            StuckReason.STUCK_REASON_WORKFLOW_TASK_FAILING,
            f"{what}, {count} so far",
            f"temporal workflow show --namespace {self._client.namespace} "
            f"--workflow-id {workflow_id}",
        )

    async def activity(self, each: PendingActivityInfo, queue: str) -> Diagnosis | None:
        """Diagnose an activity that no worker has taken.

        Raises:
            RPCError: Temporal does not tell.
        """
        if each.state != _SCHEDULED:
            return None
        waits = self._waits_since(each.scheduled_time)
        if await self._polled.has_no_worker(queue, ACTIVITIES, waits or _LONG_AGO):
            return self._no_worker(queue)
        return self._backlog(queue, waits) if waits is not None else None

    def _no_worker(self, queue: str) -> Diagnosis:
        service = self._service(queue)
        start = f": start {service}" if service else ""
        return Diagnosis(
            StuckReason.STUCK_REASON_NO_WORKER,
            f"no worker polls task queue {queue}{start}",
            self._describe_queue(queue),
        )

    def _no_answer(self, queue: str, problem: str) -> Diagnosis:
        workers = self._service(queue) or "a worker of it"
        return Diagnosis(
            StuckReason.STUCK_REASON_NO_WORKER,
            f"no worker of task queue {queue} goes on with workflow {problem}: "
            f"see whether {workers} hangs or is cut off",
            self._describe_queue(queue),
        )

    def _backlog(self, queue: str, since: datetime) -> Diagnosis:
        waited = duration_text(self._now - since)
        return Diagnosis(
            StuckReason.STUCK_REASON_BACKLOG,
            f"waits in task queue {queue} for {waited}: its workers have no room",
            self._describe_queue(queue),
        )

    def _waits_since(self, scheduled: Timestamp) -> datetime | None:
        """Return since when a task waits in a queue; None for a new one, or one of the future."""
        since = scheduled.ToDatetime(UTC)
        return since if self._now - since > _MIN_WAIT else None

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
