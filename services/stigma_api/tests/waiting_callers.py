"""Callers: workflows whose one activity waits, and its token."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from stigma.agent.v1.agent_execution_pb2 import (
    TemporalCaller,
)
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from tests.stack.waiting import eventually


@workflow.defn
class WaitingCaller:
    """A caller: its one activity waits for somebody else to complete it."""

    @workflow.run
    async def run(self) -> str:
        result: str = await workflow.execute_activity(
            "wait_for_agent",
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=60),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            result_type=str,
        )
        return result


class Callers:
    """Starts workflows whose activity waits, and hands out its token."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.task_queue = f"callers-{uuid.uuid4().hex[:8]}"
        # By run: an activity left waiting by another test is attempted again when it times out.
        self._waiting: defaultdict[str, asyncio.Queue[activity.Info]] = defaultdict(asyncio.Queue)

    @activity.defn
    async def wait_for_agent(self) -> None:
        info = activity.info()
        assert info.workflow_run_id
        await self._waiting[info.workflow_run_id].put(info)
        activity.raise_complete_async()

    async def start(
        self, prefix: str = "caller", after: Caller | None = None, workflow_id: str = ""
    ) -> Caller:
        """Start a workflow, or another run of the one before: its activity's next token."""
        if after is not None:
            await after.handle.terminate()
        handle: WorkflowHandle[Any, str] = await self.client.start_workflow(
            WaitingCaller.run,
            id=after.handle.id if after else workflow_id or f"{prefix}-{uuid.uuid4()}",
            task_queue=self.task_queue,
        )
        assert handle.first_execution_run_id
        return await self.of(handle, handle.first_execution_run_id)

    async def reset(self, caller: Caller) -> Caller:
        """Reset a caller's workflow: another run goes on, whose activity waits as well."""
        handle = caller.handle
        await handle.signal("poke")  # one more workflow task, which a reset can go back to

        async def second_task() -> int:
            completed = [
                event.event_id
                for event in (await handle.fetch_history()).events
                if event.HasField("workflow_task_completed_event_attributes")
            ]
            return completed[1] if len(completed) > 1 else 0

        poked = await eventually(second_task, what="the caller's second workflow task")
        reset = await self.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(workflow_id=handle.id),
                workflow_task_finish_event_id=poked,
                request_id=str(uuid.uuid4()),
            )
        )
        return await self.of(self.client.get_workflow_handle(handle.id), reset.run_id)

    async def of(self, handle: WorkflowHandle[Any, str], run_id: str) -> Caller:
        """The caller in this run, once its activity waits."""
        async with asyncio.timeout(60):
            return Caller(handle, await self._waiting[run_id].get())


@dataclass(frozen=True)
class Caller:
    """A workflow whose activity waits."""

    handle: WorkflowHandle[Any, str]
    info: activity.Info

    @property
    def token(self) -> bytes:
        return self.info.task_token

    def request(self, of: Any = StartAgentRequest, **fields: Any) -> Any:
        caller = TemporalCaller(
            workflow_id=self.info.workflow_id or "",
            run_id=self.info.workflow_run_id or "",
            activity_id=self.info.activity_id,
        )
        return of(callback_token=self.token, caller=caller, **fields)
