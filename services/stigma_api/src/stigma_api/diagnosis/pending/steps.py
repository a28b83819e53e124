"""Steps that an open execution waits for, from Temporal alone: no service of ours is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecution,
    PendingStep,
)
from stigma.contracts import engine
from stigma.contracts.executions import Execution, Kind
from stigma_api.diagnosis.pending.document import DocumentStepReader
from stigma_api.diagnosis.pending.execution import OwnStepReader
from stigma_api.diagnosis.pending.task_queues import WorkerWaits
from stigma_api.diagnosis.stuck.people import read_inputs
from stigma_api.diagnosis.stuck.queues import Queues
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.kinds import KINDS
from stigma_api.temporal.calls import describe
from stigma_api.temporal.clock import TemporalClock

MAX_STEPS = 20
"""Steps shown: the oldest."""

# Reads at a time in this process: each may hold some megabytes of history.
_MAX_READS = 8


class PendingSteps:
    """Reads the pending steps of executions."""

    def __init__(self, client: Client, clock: TemporalClock) -> None:
        self._client = client
        self._clock = clock
        self._own = OwnStepReader(client)
        self._document = DocumentStepReader(client)
        self._called = Reader[Any](client, *KINDS)
        self._reads = asyncio.Semaphore(_MAX_READS)

    async def add(self, description: ExecutionDescription[Any], execution: Execution) -> None:
        """Add to an execution what it waits for; nothing to one that has ended.

        Waits while many others are read; its caller limits for how long.

        Args:
            description: of the execution.
            execution: as it is returned, with its detail.

        Raises:
            ApiError: UNAVAILABLE, Temporal does not answer; RESOURCE_EXHAUSTED, it limits us.
        """
        if not description.is_open:
            return
        async with self._reads:
            now = self._clock.now()
            waits = WorkerWaits(self._client, Queues(self._client, now), now)
            steps = await self._own.read(description, waits)
            if description.kind.kind is Kind.WORKFLOW:
                steps = await self._with_document(description, waits, steps)
            steps.sort(key=lambda each: each.start_time.ToNanoseconds())
            shown = steps[:MAX_STEPS]
            await self._add_workflow_tasks(shown, waits)
            await self._add_people(shown)
            if isinstance(execution, AgentExecution) and not execution.status.pending_inputs:
                # Without details: no worker has answered.
                inputs = await read_inputs(self._client, description)
                execution.status.pending_inputs.extend(inputs)
        execution.status.pending_steps.extend(shown)
        execution.status.more_pending_steps = max(len(steps) - MAX_STEPS, 0)

    async def _with_document(
        self,
        description: ExecutionDescription[Any],
        waits: WorkerWaits,
        own: Sequence[PendingStep],
    ) -> list[PendingStep]:
        """Return the steps with those of the document, which stand for its run where it has any."""
        found = await self._document.read(description.execution_id, waits)
        run_id = engine.run_id(description.execution_id)
        return [*(each for each in own if not found or each.workflow_id != run_id), *found]

    async def _add_workflow_tasks(self, steps: Sequence[PendingStep], waits: WorkerWaits) -> None:
        """Add to steps that are workflows where their next task is, however new that is.

        The executions of agents are left out: each says that of itself.
        """
        for step in steps:
            if not step.workflow_id or step.execution_id:
                continue
            described = await describe(self._client, step.workflow_id)
            if described is None:
                continue
            task = await waits.workflow_task(described, min_age=timedelta())
            if task is not None:
                step.attempt, step.last_failure = task.attempt, task.last_failure
                step.task_queue, step.no_worker = task.task_queue, task.no_worker
                if task.HasField("taken_time"):
                    step.taken_time.CopyFrom(task.taken_time)

    async def _add_people(self, steps: Sequence[PendingStep]) -> None:
        """Add to calls of agents whether their executions wait for people."""
        for step in steps:
            if step.execution_id:
                found = await self._called.find(step.execution_id)
                if found is not None and found.is_open:
                    is_alone = found.phase == "INPUT_REQUIRED"
                    inputs = [] if is_alone else await read_inputs(self._client, found)
                    step.input_required = is_alone or bool(inputs)
