"""A run of the engine, as a child workflow of its execution."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    TerminatedError,
)
from temporalio.exceptions import TimeoutError as WorkflowTimeoutError

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AgentExecutionPhase,
    Failure,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import engine, errors, json_text, limits, payloads, refusals
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import CarriedState, WorkflowExecutionInput
from stigma.workflow.v1.workflow_execution_pb2 import EngineRun as Run
from stigma.workflow.v1.workflow_execution_pb2 import (
    WorkflowExecution,
    WorkflowExecutionPhase,
    WorkflowOutput,
)
from stigma_orchestrator.executions.outcome import Outcome

INLINE = "inline"
"""Name of a document that is not registered."""
STOP_GRACE = timedelta(seconds=10)
"""Time that a cancelled run has to stop: longer than it takes to stop its agents."""
# Size that each text of an error keeps that is too long as a whole.
_ERROR_PART_BYTES = 2_000
# After the deadline the execution cancels its run; when it could not, Temporal ends it.
_AFTER_DEADLINE = timedelta(minutes=1)


class EngineRun:
    """The work of a workflow execution: one run of its document in the engine."""

    def __init__(self, request: WorkflowExecutionInput, queues: TaskQueues) -> None:
        self._request = request
        self._spec = request.spec
        self._deadline = request.deadline.ToDatetime(UTC)
        self._queue = queues.engine
        self._id = engine.run_id(request.execution_id)
        self._started: Run | None = None
        self._error_json = ""

    @property
    def phase(self) -> AgentExecutionPhase.ValueType:
        """RUNNING from the start to the end."""
        return AgentExecutionPhase.AGENT_EXECUTION_PHASE_RUNNING

    async def settle(self, outcome: Outcome) -> None:
        """Do nothing."""

    def describe(self, execution: WorkflowExecution) -> None:
        """Write the workflow's id, the engine's run and its error; not the document."""
        execution.spec.workflow_id = self._spec.workflow_id
        if execution.status.phase == WorkflowExecutionPhase.WORKFLOW_EXECUTION_PHASE_FAILED:
            # A cancelled run may fail too, but that is not the reason.
            execution.status.error_json = self._error_json
        if self._started is not None:
            execution.status.run.CopyFrom(self._started)

    def carry(self, carried: CarriedState) -> WorkflowExecutionInput:  # noqa: ARG002 - never carried
        """Return the request as it is: this never stops to continue as new."""
        return self._request

    async def run(self) -> Outcome:
        """Start the run, wait for its end and return its outcome.

        Cancelling this cancels the run; it returns once the run has stopped.
        """
        try:
            argument = engine.start_argument(self._spec.workflow.document, self._spec.input_json)
        except ValueError as error:
            return _failed(FailureReason.FAILURE_REASON_INVALID_REQUEST, str(error))
        if (size := len(argument.payload.data)) > limits.MAX_PAYLOAD_BYTES:
            return _too_large("the document and its input have", size, limits.MAX_PAYLOAD_BYTES)
        try:
            child = await workflow.start_child_workflow(
                self._spec.workflow_id.partition("@")[0] or INLINE,
                argument,
                id=self._id,
                task_queue=self._queue,
                result_type=RawValue,
                # Only an execution that was reset to before its run finds it: the run begins anew.
                id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
                # The run of a terminated execution is cancelled, not terminated with it, so that it
                # can stop its agents.
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                # Without a worker of the engine it cannot be cancelled: it must not stay open.
                execution_timeout=max(self._deadline - workflow.now(), timedelta())
                + _AFTER_DEADLINE,
            )
            self._started = Run(workflow_id=child.id, run_id=child.first_execution_run_id or "")
            result: RawValue = await child
        except FailureError as error:
            return self._outcome_of_failure(error)
        return _completed(result.payload)

    def _outcome_of_failure(self, error: FailureError) -> Outcome:
        """Return the outcome of a run that did not complete."""
        reason = FailureReason.FAILURE_REASON_TERMINATED
        match error.cause if isinstance(error, ChildWorkflowError) else error:
            case ApplicationError() as failed:
                return self._outcome_of_error(failed)
            case CancelledError():
                # Not by us: then this outcome is not used any more.
                reason = FailureReason.FAILURE_REASON_CANCELLED
                message = "its run in the engine was cancelled"
                return Outcome.of_failure(AGENT_EXECUTION_PHASE_CANCELLED, reason, message)
            case TerminatedError():
                return _failed(reason, "its run in the engine was terminated")
            case WorkflowTimeoutError():
                return _failed(reason, "its run in the engine timed out in Temporal")
            case cause:
                reason = FailureReason.FAILURE_REASON_INTERNAL
                return _failed(reason, f"its run in the engine ended by {type(cause).__name__}")

    def _outcome_of_error(self, error: ApplicationError) -> Outcome:
        """Return the outcome of an error that nothing in the document caught."""
        problem = errors.detail_of(error)
        message, step = error.message, ""
        reason = FailureReason.FAILURE_REASON_WORKFLOW_ERROR
        if problem is not None:
            self._error_json = _error_json(problem)
            # The step has its own field; the engine's message names it as well.
            title = (problem.get("title") or problem.get("type"), problem.get("detail"))
            message = ": ".join(str(part) for part in title if part) or message
            step = _cut(str(problem.get("instance") or ""), limits.MAX_REASON_BYTES)
            if problem.get(engine.REASON_KEY):
                reason = errors.reason_of(str(problem[engine.REASON_KEY]))
            if refusals.refusal_in(problem) is not None:
                reason = FailureReason.FAILURE_REASON_INVALID_WORKFLOW
        return _failed(reason, message, step)


def _error_json(problem: Mapping[str, Any]) -> str:
    """Return an error as JSON of at most MAX_ERROR_BYTES: only what is long in it is cut."""
    try:
        text = json_text.replace_surrogates(json_text.compact(problem))
        if len(text.encode()) > limits.MAX_ERROR_BYTES:
            cut = {
                name: _cut(value, _ERROR_PART_BYTES, "…") if isinstance(value, str) else value
                for name, value in problem.items()
            }
            text = json_text.compact(cut)
    except RecursionError:
        return ""
    return text if len(text.encode()) <= limits.MAX_ERROR_BYTES else ""


def _cut(text: str, limit: int, mark: str = "") -> str:
    data = json_text.replace_surrogates(text).encode()
    return data.decode() if len(data) <= limit else data[:limit].decode(errors="ignore") + mark


def _completed(result: Payload) -> Outcome:
    # The engine answers in JSON; nothing at all is how Temporal writes null.
    output = WorkflowOutput(json=result.data.decode() or "null")
    # Its JSON form is the longest in which it travels: in a failure's details, for instance.
    if size := payloads.json_size_if_over(limits.MAX_OUTPUT_BYTES, output):
        return _too_large("the output has", size, limits.MAX_OUTPUT_BYTES)
    return Outcome(AGENT_EXECUTION_PHASE_COMPLETED, output)


def _too_large(subject: str, size: int, limit: int) -> Outcome:
    reason = FailureReason.FAILURE_REASON_TOO_LARGE
    return _failed(reason, f"{subject} {size} bytes, the limit is {limit}")


def _failed(reason: FailureReason.ValueType, message: str, step: str = "") -> Outcome:
    text = _cut(message, limits.MAX_ERROR_BYTES)
    failure = Failure(reason=reason, message=text, step=step)
    return Outcome(AGENT_EXECUTION_PHASE_FAILED, failure=failure)
