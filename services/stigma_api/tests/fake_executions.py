"""Fakes of the orchestrator's workflows, the AI worker and the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RawValue
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    is_cancelled_exception,
)

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_RUNNING,
    ROLE_MODEL,
    ROLE_USER,
    AgentExecution,
    Failure,
    Message,
    Part,
    Usage,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CANCELLED,
    FAILURE_REASON_STEP_LIMIT,
    FAILURE_REASON_WORKFLOW_ERROR,
)
from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.contracts import engine, errors, refusals, search_attributes, workflows
from stigma.contracts.activities import CallbackActivities, ModelActivities
from stigma.contracts.refusals import Refusal
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    ConverseRequest,
    ConverseResponse,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallRequest,
    ModelCallResponse,
    WatchCallerRequest,
    WatchCallerResponse,
    WorkflowExecutionInput,
)
from stigma.internal.v1.session_pb2 import RequestTurn, SessionWorkflowInput, TurnAccepted
from stigma.workflow.v1.workflow_execution_pb2 import (
    WORKFLOW_EXECUTION_PHASE_CANCELLED,
    WORKFLOW_EXECUTION_PHASE_COMPLETED,
    WORKFLOW_EXECUTION_PHASE_FAILED,
    WORKFLOW_EXECUTION_PHASE_RUNNING,
    EngineRun,
    WorkflowExecution,
)


@workflow.defn(name="AgentWorkflow")
class FakeAgent(workflows.AgentWorkflow):
    """Does what its message says, within the contract of the real one."""

    def __init__(self) -> None:
        self._binds: list[bytes] = []
        self._execution = AgentExecution()
        self._told = ""

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        self._binds.append(bind.token)

    @workflow.signal
    def tell(self, what: str) -> None:
        self._told = what

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        return self._execution

    @workflow.query
    def bindings(self) -> int:
        return len(self._binds)

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        self._binds = [bind.token for bind in request.carried.bindings] + self._binds
        execution = self._execution
        execution.id = request.execution_id
        execution.spec.CopyFrom(request.spec)
        execution.status.phase = AGENT_EXECUTION_PHASE_RUNNING
        execution.status.steps = request.carried.steps
        execution.status.messages.append(_said(ROLE_USER, request.spec.message))
        try:
            await self._call_model(request.carried.steps + 1)
            await workflow.wait_condition(lambda: bool(self._told))
        except asyncio.CancelledError:
            execution.status.phase = AGENT_EXECUTION_PHASE_CANCELLED
            execution.status.failure.CopyFrom(
                Failure(reason=FAILURE_REASON_CANCELLED, message="as asked")
            )
            if request.spec.message != "cancel silently":
                workflow.upsert_memo({"execution": _without_task(execution)})
            raise
        match self._told:
            case "continue as new":
                carried = AgentWorkflowInput()
                carried.CopyFrom(request)
                carried.carried.steps = execution.status.steps
                carried.carried.bindings.extend(Bind(token=token) for token in self._binds)
                workflow.continue_as_new(carried)
            case "fail":
                execution.status.phase = AGENT_EXECUTION_PHASE_FAILED
                failure = Failure(
                    reason=FAILURE_REASON_STEP_LIMIT, message="too many", step="model_call 2"
                )
                execution.status.failure.CopyFrom(failure)
                workflow.upsert_search_attributes([search_attributes.PHASE.value_set("FAILED")])
                raise ApplicationError(
                    "failed",
                    errors.failure_details(_without_task(execution)),
                    type=errors.ErrorType.FAILED,
                )
            case "break":
                raise ApplicationError("a secret prompt", type="SomethingElse")
            case "deliver":
                await workflow.execute_local_activity_method(
                    CallbackActivities.deliver_callback,
                    DeliverCallbackRequest(token=self._binds[-1]),
                    start_to_close_timeout=timedelta(seconds=5),
                )
                await workflow.execute_activity_method(
                    CallbackActivities.deliver_callback,
                    DeliverCallbackRequest(token=self._binds[-1]),
                    start_to_close_timeout=timedelta(seconds=5),
                )
        execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
        execution.status.output.text = self._told
        return _without_task(execution)

    async def _call_model(self, step: int) -> None:
        try:
            answer = await workflow.execute_activity_method(
                ModelActivities.call_model,
                ModelCallRequest(
                    step=step, model="scripted:demo", message=self._execution.spec.message
                ),
                start_to_close_timeout=timedelta(seconds=30),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from None
            return  # how it failed is told by the history
        self._execution.status.steps = step
        self._execution.status.messages.append(answer.message)


@workflow.defn(name="SessionWorkflow")
class FakeSession(workflows.SessionWorkflow):
    """Takes every turn, and lets none begin: the fake agents wait for nothing."""

    @workflow.init
    def __init__(self, request: SessionWorkflowInput) -> None:
        self._shown = AgentSession(id=request.session_id, principal=request.principal)
        self._is_deleted = False

    @workflow.run
    async def run(self, request: SessionWorkflowInput) -> None:
        await workflow.wait_condition(lambda: self._is_deleted)

    @workflow.update(name="request_turn")
    def request_turn(  # type: ignore[override] # an update of this class
        self, request: RequestTurn
    ) -> TurnAccepted:
        self._shown.turns += 1
        return TurnAccepted(number=self._shown.turns)

    @workflow.update(name="delete_session")
    def delete_session(self) -> None:  # type: ignore[override] # an update of this class
        self._is_deleted = True

    @workflow.query(name="session")
    def session(self, with_messages: bool = False) -> AgentSession:
        return self._shown


class FakeModel(ModelActivities, CallbackActivities):
    """Answers every call; fails when the message says so."""

    @activity.defn(name="call_model")
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        if request.message == "model fails":
            raise ApplicationError("out of context", type="CONTEXT_LENGTH", non_retryable=True)
        usage = Usage(input_tokens=3, output_tokens=5, model_calls=1)
        return ModelCallResponse(message=_said(ROLE_MODEL, f"step {request.step}"), usage=usage)

    @activity.defn(name="converse")
    async def converse(self, request: ConverseRequest) -> ConverseResponse:
        raise NotImplementedError

    @activity.defn(name="deliver_callback")
    async def deliver_callback(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        return DeliverCallbackResponse()

    @activity.defn(name="deliver_workflow_callback")
    async def deliver_workflow_callback(
        self, request: DeliverCallbackRequest
    ) -> DeliverCallbackResponse:
        return await self.deliver_callback(request)

    @activity.defn(name="watch_caller")
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        return WatchCallerResponse()


@workflow.defn(name="WorkflowExecutionWorkflow")
class FakeWorkflow(workflows.WorkflowExecutionWorkflow):
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
class FakeEngine:
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
    kind, _, count = document.partition(" mistakes: ")
    if kind == "has":
        detail = "the document is not valid: 1:2: /do: wrong"
        listed = [
            {"line": line, "column": 2, "pointer": "/do", "message": "wrong"}
            for line in range(1, int(count) + 1)
        ]
        all_of_them = {refusals.KEY: str(Refusal.DOCUMENT), engine.PROBLEMS_KEY: listed}
        details = {**all_of_them, "detail": detail, "instance": "/"}
        raise ApplicationError("Validation Error", details, non_retryable=True)


def _shown(execution: WorkflowExecution) -> WorkflowExecution:
    shown = WorkflowExecution()
    shown.CopyFrom(execution)
    shown.spec.ClearField("input_json")
    shown.spec.workflow.ClearField("document")
    return shown


def _said(role: Any, text: str) -> Message:
    return Message(role=role, parts=[Part(text=text)])


def _without_task(execution: AgentExecution) -> AgentExecution:
    shown = AgentExecution()
    shown.CopyFrom(execution)
    shown.status.ClearField("messages")
    for private in ("message", "input_json", "env"):
        shown.spec.ClearField(private)
    return shown
