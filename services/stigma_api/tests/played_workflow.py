"""Stand-ins for what runs workflows: the orchestrator's workflow, and the engine behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ChildWorkflowError, is_cancelled_exception

from stigma.agent.v1.agent_execution_pb2 import Failure
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_CANCELLED, FAILURE_REASON_WORKFLOW_ERROR
from stigma.contracts import engine, errors, refusals, search_attributes, workflows
from stigma.contracts.refusals import Refusal
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import Bind, WorkflowExecutionInput
from stigma.workflow.v1.workflow_execution_pb2 import (
    WORKFLOW_EXECUTION_PHASE_CANCELLED,
    WORKFLOW_EXECUTION_PHASE_COMPLETED,
    WORKFLOW_EXECUTION_PHASE_FAILED,
    WORKFLOW_EXECUTION_PHASE_RUNNING,
    EngineRun,
    WorkflowExecution,
)


@workflow.defn(name="WorkflowExecutionWorkflow")
class PlayedWorkflow(workflows.WorkflowExecutionWorkflow):
    """Runs its document as a child, within the contract of the real one."""

    def __init__(self) -> None:
        self._execution = WorkflowExecution()

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        """Nobody is called back: what a bind leaves in the history is looked at."""

    @workflow.query(name="execution")
    def execution(self, with_request: bool = True) -> WorkflowExecution:
        return self._execution if with_request else _shown(self._execution)

    @workflow.run
    async def run(self, request: WorkflowExecutionInput) -> WorkflowExecution:
        execution = self._execution
        execution.id = request.execution_id
        execution.spec.CopyFrom(request.spec)
        execution.status.phase = WORKFLOW_EXECUTION_PHASE_RUNNING
        document = request.spec.workflow.document
        if document == "break":
            raise ApplicationError("a secret input", type="SomethingElse")
        given = {"document": document, "input": json.loads(request.spec.input_json or "null")}
        try:
            output = await self._run_document(given)
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                self._end(WORKFLOW_EXECUTION_PHASE_CANCELLED, FAILURE_REASON_CANCELLED, "as asked")
                workflow.upsert_memo({"execution": _shown(execution)})
                raise asyncio.CancelledError from None
            self._end(WORKFLOW_EXECUTION_PHASE_FAILED, FAILURE_REASON_WORKFLOW_ERROR, "wrong")
            execution.status.error_json = '{"status": 500}'
            workflow.upsert_search_attributes([search_attributes.PHASE.value_set("FAILED")])
            raise ApplicationError(
                "failed",
                errors.failure_details(_shown(execution)),
                type=errors.ErrorType.WORKFLOW_FAILED,
            ) from None
        execution.status.phase = WORKFLOW_EXECUTION_PHASE_COMPLETED
        execution.status.output.json = json.dumps(output)
        return _shown(execution)

    async def _run_document(self, given: dict[str, Any]) -> Any:
        child = await workflow.start_child_workflow(
            "a-document",
            given,
            id=engine.run_id(self._execution.id),
            task_queue=TaskQueues.from_orchestrator(workflow.info().task_queue).engine,
        )
        run = EngineRun(workflow_id=child.id, run_id=child.first_execution_run_id or "")
        self._execution.status.run.CopyFrom(run)
        return await child

    def _end(self, phase: Any, reason: Any, message: str) -> None:
        self._execution.status.phase = phase
        self._execution.status.failure.CopyFrom(Failure(reason=reason, message=message))


@workflow.defn(dynamic=True)
class PlayedEngine:
    """Does what its document says, which is one word."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        [start] = [workflow.payload_converter().from_payload(arg.payload) for arg in args]
        if start.get("validate"):
            return _validated(start["document"])
        match start["document"]:
            case "hold":
                await workflow.wait_condition(lambda: False)
            case "fail":
                raise ApplicationError("wrong", type="wrong", non_retryable=True)
        return start["input"]


def _validated(document: str) -> None:
    if document == "an older engine":
        problem = {refusals.KEY: str(Refusal.START), "detail": "takes one JSON object"}
        raise ApplicationError("Configuration Error", problem, non_retryable=True)
    if document == "no document":
        detail = "the document is not valid: line 1: not a mapping at /"
        problem = {refusals.KEY: str(Refusal.DOCUMENT), "detail": detail, "instance": "/"}
        raise ApplicationError("Validation Error", problem, non_retryable=True)


def _shown(execution: WorkflowExecution) -> WorkflowExecution:
    shown = WorkflowExecution()
    shown.CopyFrom(execution)
    shown.spec.ClearField("input_json")
    shown.spec.workflow.ClearField("document")
    return shown
