"""The run of the workflow that is an agent, as a child of its execution."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    TerminatedError,
)
from temporalio.exceptions import TimeoutError as WorkflowTimeoutError

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AgentOutput,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import agent_runtime, json_text, limits, payloads
from stigma.contracts.activities import OutputActivities
from stigma.contracts.agent_runtime import UnreadableError
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, CheckOutputRequest
from stigma_orchestrator.agents.ending import completed, failed_outcome
from stigma_orchestrator.agents.step import AgentFailedError, StepContext, raise_if_stopped
from stigma_orchestrator.executions.outcome import Outcome

STEP = "runtime"
"""Names the workflow in failures."""
# After the deadline the execution cancels the run; when it could not, Temporal ends it.
_AFTER_DEADLINE = timedelta(minutes=1)
_CHECK_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True)
class RuntimeRun:
    """One run of an agent's own workflow."""

    context: StepContext
    request: AgentWorkflowInput

    async def run(self) -> Outcome:
        """Run the workflow; return the outcome that its end is for the agent.

        Raises:
            AgentFailedError: it failed, or its result is no output of the agent.
        """
        try:
            result = await self._execute(self._argument())
        except FailureError as error:
            raise_if_stopped(error)
            return _outcome_of(error)
        try:
            text = agent_runtime.output_json(result)
        except UnreadableError as error:
            raise _failed(FailureReason.FAILURE_REASON_INVALID_OUTPUT, str(error)) from error
        return completed(await self._output(text), STEP)

    def _argument(self) -> RawValue:
        try:
            argument = agent_runtime.start_argument(self.request, self.context.configuration)
        except ValueError:
            message = "the input is not JSON"
            raise _failed(FailureReason.FAILURE_REASON_INVALID_REQUEST, message) from None
        if (size := len(argument.payload.data)) > limits.MAX_PAYLOAD_BYTES:
            message = f"the message and the input have {size} bytes as the workflow's argument, "
            message += f"the limit is {limits.MAX_PAYLOAD_BYTES}"
            raise _failed(FailureReason.FAILURE_REASON_TOO_LARGE, message)
        return argument

    async def _execute(self, argument: RawValue) -> RawValue:
        runtime = self.context.spec.agent.runtime
        left = max(self.context.deadline - workflow.now(), timedelta())
        result: RawValue = await workflow.execute_child_workflow(
            runtime.workflow_type,
            argument,
            id=agent_runtime.child_id(self.context.execution_id),
            task_queue=runtime.task_queue,
            result_type=RawValue,
            # Only an execution that was reset to before its run finds it: the run begins anew.
            id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            # Without a worker it cannot be cancelled: it must not stay open.
            execution_timeout=left + _AFTER_DEADLINE,
        )
        return result

    async def _output(self, text: str) -> AgentOutput:
        """Return the agent's output: a text as what it says; checked where there is a schema."""
        value = json_text.parse(text)
        said = value if isinstance(value, str) else ""
        schema = self.context.spec.agent.output_schema
        if not schema:
            is_text = value is None or isinstance(value, str)
            return AgentOutput(text=said, json="" if is_text else text)
        request = CheckOutputRequest(
            execution_id=self.context.execution_id, schema=schema, output_json=text
        )
        if size := payloads.json_size_if_over(limits.MAX_PAYLOAD_BYTES, request):
            message = f"the output and its schema have {size} bytes, "
            message += f"the limit is {limits.MAX_PAYLOAD_BYTES}"
            raise _failed(FailureReason.FAILURE_REASON_TOO_LARGE, message)
        return AgentOutput(text=said, json=await self._checked(request))

    async def _checked(self, request: CheckOutputRequest) -> str:
        left = max(self.context.deadline - workflow.now(), timedelta(seconds=1))
        try:
            checked = await workflow.execute_activity_method(
                OutputActivities.check_output,
                request,
                task_queue=self.context.queues.ai,
                start_to_close_timeout=_CHECK_TIMEOUT,
                schedule_to_close_timeout=left,
            )
        except ActivityError as error:
            raise_if_stopped(error)
            cause = error.cause
            message = cause.message if isinstance(cause, ApplicationError) else "no worker did"
            message = f"the output could not be checked: {message}"
            raise _failed(FailureReason.FAILURE_REASON_INVALID_OUTPUT, message) from error
        if checked.error:
            raise _failed(FailureReason.FAILURE_REASON_INVALID_OUTPUT, checked.error)
        return checked.output_json


def _outcome_of(error: FailureError) -> Outcome:
    """Return the outcome of a workflow that did not complete."""
    reason = FailureReason.FAILURE_REASON_TERMINATED
    match error.cause if isinstance(error, ChildWorkflowError) else error:
        case ApplicationError() as failed:
            kind = f"{failed.type}: " if failed.type else ""
            reason = FailureReason.FAILURE_REASON_WORKFLOW_ERROR
            return failed_outcome(_failed(reason, f"{kind}{failed.message}"))
        case CancelledError():
            message = "the workflow that is the agent was cancelled"
            return Outcome.of_failure(
                AGENT_EXECUTION_PHASE_CANCELLED, FailureReason.FAILURE_REASON_CANCELLED, message
            )
        case TerminatedError():
            message = "the workflow that is the agent was terminated"
        case WorkflowTimeoutError():
            message = "the workflow that is the agent timed out in Temporal"
        case cause:
            reason = FailureReason.FAILURE_REASON_INTERNAL
            message = f"the workflow that is the agent ended by {type(cause).__name__}"
    return failed_outcome(_failed(reason, message))


def _failed(reason: FailureReason.ValueType, message: str) -> AgentFailedError:
    text = payloads.cut_text(json_text.replace_surrogates(message), limits.MAX_TOOL_ERROR_BYTES)
    return AgentFailedError(reason, text, step=STEP)
