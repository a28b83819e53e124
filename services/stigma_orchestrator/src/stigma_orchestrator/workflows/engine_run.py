"""The work of a workflow execution: one run of the engine, as a child workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

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
    Failure,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import engine, errors, limits, payloads, refusals
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import WorkflowExecutionInput
from stigma.workflow.v1.workflow_execution_pb2 import EngineRun as Run
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowOutput
from stigma_orchestrator.executions.lifecycle import Outcome

INLINE = "inline"
"""Name of a document that is not registered."""
PATIENCE = timedelta(seconds=10)
"""How long a run that is told to stop has for it: longer than it takes to stop its agents."""
# After the deadline the execution tells its run to stop; when it could not, Temporal does.
_AFTER_DEADLINE = timedelta(minutes=1)


class EngineRun:
    """One document at work in the engine."""

    def __init__(
        self, request: WorkflowExecutionInput, deadline: datetime, queues: TaskQueues
    ) -> None:
        self._spec = request.spec
        self._deadline = deadline
        self._queue = queues.engine
        self._id = engine.run_id(request.execution_id)
        self.run: Run | None = None
        """The Temporal workflow, once it is started."""
        self.error_json = ""
        """The error that ended the run, as JSON text."""

    async def outcome(self) -> Outcome[WorkflowOutput]:
        """Start the run, wait for its end and return what it came to.

        When this is cancelled, the run is told to stop, and this goes on until it has.
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
                # Only one that was reset to before its run finds it there: the run begins anew.
                id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
                # An execution that is terminated leaves nobody to wait for the run: it is told to
                # stop, not terminated with it, so that it can stop its agents.
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                # One that cannot hear it, because nothing serves the engine, does not stay open.
                execution_timeout=max(self._deadline - workflow.now(), timedelta())
                + _AFTER_DEADLINE,
            )
            self.run = Run(workflow_id=child.id, run_id=child.first_execution_run_id or "")
            result: RawValue = await child
        except FailureError as error:
            return self._why(error)
        return _completed(result.payload)

    def _why(self, error: FailureError) -> Outcome[WorkflowOutput]:
        """Return what an execution came to whose run did not complete."""
        reason = FailureReason.FAILURE_REASON_TERMINATED
        match error.cause if isinstance(error, ChildWorkflowError) else error:
            case ApplicationError() as failed:
                return self._faulted(failed)
            case CancelledError():
                # Not by us: then nobody looks at this any more.
                failure = Failure(
                    reason=FailureReason.FAILURE_REASON_CANCELLED,
                    message="its run in the engine was cancelled",
                )
                return Outcome(AGENT_EXECUTION_PHASE_CANCELLED, failure=failure)
            case TerminatedError():
                return _failed(reason, "its run in the engine was terminated")
            case WorkflowTimeoutError():
                return _failed(reason, "its run in the engine timed out in Temporal")
            case cause:
                reason = FailureReason.FAILURE_REASON_INTERNAL
                return _failed(reason, f"its run in the engine ended by {type(cause).__name__}")

    def _faulted(self, error: ApplicationError) -> Outcome[WorkflowOutput]:
        """Return the failure for an error that nothing in the document caught."""
        problem = error.details[0] if error.details else None
        message, step = error.message, ""
        reason = FailureReason.FAILURE_REASON_WORKFLOW_ERROR
        if isinstance(problem, Mapping):
            text = payloads.encodable(
                json.dumps(problem, ensure_ascii=False, separators=(",", ":"))
            )
            if len(text.encode()) <= limits.MAX_ERROR_BYTES:
                self.error_json = text
            # The step has its own place: the engine's message names it as well.
            named = (problem.get("title") or problem.get("type"), problem.get("detail"))
            message = ": ".join(str(part) for part in named if part) or message
            step = payloads.encodable(str(problem.get("instance") or ""))[: limits.MAX_REASON_BYTES]
            if problem.get(engine.REASON_KEY):
                reason = errors.reason_of(str(problem[engine.REASON_KEY]))
            if refusals.refusal_in(problem) is not None:
                reason = FailureReason.FAILURE_REASON_INVALID_WORKFLOW
        return _failed(reason, message, step)


def _completed(result: Payload) -> Outcome[WorkflowOutput]:
    # The engine answers in JSON; nothing at all is how Temporal writes null.
    output = WorkflowOutput(json=result.data.decode() or "null")
    # Its JSON form is the longest in which it travels: in a failure's details, for instance.
    if size := payloads.json_size_over(limits.MAX_OUTPUT_BYTES, output):
        return _too_large("the output has", size, limits.MAX_OUTPUT_BYTES)
    return Outcome(AGENT_EXECUTION_PHASE_COMPLETED, output)


def _too_large(what: str, size: int, limit: int) -> Outcome[WorkflowOutput]:
    reason = FailureReason.FAILURE_REASON_TOO_LARGE
    return _failed(reason, f"{what} {size} bytes, the limit is {limit}")


def _failed(
    reason: FailureReason.ValueType, message: str, step: str = ""
) -> Outcome[WorkflowOutput]:
    shown = payloads.encodable(message).encode()[: limits.MAX_ERROR_BYTES].decode(errors="ignore")
    failure = Failure(reason=reason, message=shown, step=step)
    return Outcome(AGENT_EXECUTION_PHASE_FAILED, failure=failure)
