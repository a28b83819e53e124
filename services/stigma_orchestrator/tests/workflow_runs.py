"""Workflow executions of the tests, and an engine for them to play: it does as its document says.

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
from typing import Any, cast

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError, ServerError

from services.stigma_orchestrator.tests.orchestration import DIGEST, Orchestrator, until
from stigma.contracts import engine, errors, payloads
from stigma.internal.v1.execution_pb2 import Bind, WorkflowExecutionInput
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution, WorkflowExecutionSpec
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_orchestrator.workflows.workflow import WorkflowExecutionWorkflow


@workflow.defn(dynamic=True)
class Play:
    """A run of the engine: answers, waits to be told to finish, or fails, as its document says."""

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
            case "fail when told to stop":
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
    """Starts workflow executions as the API does, and reads what became of them."""

    orchestrator: Orchestrator

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
        """Return how an execution ended, read as the API reads it, whatever it closed as."""
        try:
            result: WorkflowExecution = await handle.result()
        except WorkflowFailureError as error:
            if isinstance(error.cause, CancelledError):
                described = (await handle.describe()).raw_description
                memo = described.workflow_execution_info.memo.fields["execution"]
                return payloads.from_raw(RawValue(memo), WorkflowExecution)
            cause = cast("ApplicationError", error.cause)
            execution = errors.workflow_execution_from_details(cause.details[0])
            if execution is None or cause.type != errors.ErrorType.of(execution):
                raise
            return execution
        return result
