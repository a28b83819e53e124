"""Workflow executions of the tests, and a fake engine that does as its document says.

The engine's client is the SDK's own, so that what the orchestrator sends and reads is plain JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeAlias

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ServerError
from temporalio.service import RPCError, RPCStatusCode

from services.stigma_orchestrator.tests.orchestration import (
    DIGEST,
    Orchestrator,
    closed_execution,
    until,
)
from stigma.contracts import engine, errors
from stigma.internal.v1.execution_pb2 import Bind, WorkflowExecutionInput
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution, WorkflowExecutionSpec
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_orchestrator.workflows.engine_run import EngineRun
from stigma_orchestrator.workflows.workflow import WorkflowExecutionWorkflow


@workflow.defn(dynamic=True)
class FakeEngine:
    """A run of the engine: returns, waits for a signal, or fails, as its document says."""

    def __init__(self) -> None:
        self._finished = False

    @workflow.signal
    def finish(self) -> None:
        self._finished = True

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        start = json.loads(args[0].payload.data)
        assert start.keys() == {"document", "input"}
        given = start["input"]
        match start["document"]:
            case "hold":
                await workflow.wait_condition(lambda: self._finished)
            case "stubborn":
                while not self._finished:
                    with contextlib.suppress(asyncio.CancelledError):
                        await workflow.wait_condition(lambda: self._finished)
            case "fail when cancelled":
                try:
                    await workflow.wait_condition(lambda: self._finished)
                except asyncio.CancelledError:
                    raise ApplicationError("in a hurry", {"type": "about:blank"}) from None
            case "fail":
                raise ApplicationError("the whole line", *given, type="odd", non_retryable=True)
            case "fail oddly":
                raise ServerError("odd", non_retryable=True)
            case "describe":
                info = workflow.info()
                assert info.parent is not None
                return {"type": info.workflow_type, "parent": info.parent.workflow_id}
            case "large":
                return "x" * given
        return given


@dataclass
class Workflows:
    """Starts workflow executions as the API does, and reads them."""

    orchestrator: Orchestrator

    cancelled_error: ClassVar = "WORKFLOW_EXECUTION_CANCELLED"
    output: ClassVar = '{"answer":42}'
    scheduled_activities: ClassVar = 1
    broken_without: ClassVar = (EngineRun, "run")

    async def start(
        self,
        bind: Bind | None = None,
        *,
        document: str = "answer",
        input_json: str = '{"answer":42}',
        timeout: float = 60,
        memo: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> WorkflowHandle[WorkflowExecutionWorkflow, WorkflowExecution]:
        """Start one: signal-with-start of the first bind."""
        execution_id = f"workflow-{uuid.uuid4().hex}"
        spec = {"request_id": "request-1"} | spec
        request = WorkflowExecutionInput(
            execution_id=execution_id,
            spec=WorkflowExecutionSpec(
                workflow=WorkflowSpec(document=document), input_json=input_json, **spec
            ),
            spec_digest=DIGEST,
        )
        request.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=timeout))
        handle = await self.orchestrator.client.start_workflow(
            WorkflowExecutionWorkflow.run,
            request,
            id=execution_id,
            task_queue=self.orchestrator.queues.orchestrator,
            execution_timeout=timedelta(minutes=3),
            start_signal="bind" if bind else None,
            start_signal_args=[bind] if bind else [],
            memo=memo,
        )
        self.orchestrator.started.append(handle)
        return handle

    async def start_held(self, bind: Bind) -> WorkflowHandle[Any, Any]:
        """Start one whose run does not end."""
        return await self.start(bind, document="hold")

    async def has_worked(self, handle: WorkflowHandle[Any, Any]) -> bool:
        """Return whether an execution has a run."""
        try:
            await self.run_of(handle).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    def run_of(self, handle: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
        """The engine's run of an execution."""
        return self.orchestrator.client.get_workflow_handle(engine.run_id(handle.id))

    async def running(self, handle: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
        """The engine's run of an execution, once it is at work."""
        await until(handle, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED)
        run = self.run_of(handle)
        await until(run, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        return run

    async def outcome(self, handle: WorkflowHandle[Any, Any]) -> WorkflowExecution:
        """Return the closed execution of a workflow."""
        from_details = errors.workflow_execution_from_details
        return await closed_execution(handle, WorkflowExecution, from_details)


Executions: TypeAlias = Orchestrator | Workflows
"""Executions of either kind."""
