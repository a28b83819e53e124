"""Errors that `run_agent` and `run_workflow` raise.

    ApplicationError                       (temporalio)
      └ ExecutionError
          ├ AgentExecutionError
          │   ├ AgentExecutionFailed       AGENT_EXECUTION_FAILED
          │   ├ AgentExecutionTimedOut     AGENT_EXECUTION_TIMEOUT, or the activity's own timeout
          │   └ AgentExecutionCancelled    AGENT_EXECUTION_CANCELLED, through the API
          └ WorkflowExecutionError
              ├ WorkflowExecutionFailed    WORKFLOW_EXECUTION_FAILED
              ├ WorkflowExecutionTimedOut  WORKFLOW_EXECUTION_TIMEOUT, or the activity's own
              └ WorkflowExecutionCancelled WORKFLOW_EXECUTION_CANCELLED, through the API

They are application errors because those fail a workflow that does not catch them; any other
exception would leave its workflow task failing for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    RetryState,
    TimeoutError,  # noqa: A004 - Temporal's name for it
)

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts import errors
from stigma.contracts.executions import Execution, Kind
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution


class ExecutionError(ApplicationError):
    """The execution that was asked for did not complete. Not retryable.

    Its message is "REASON: message (at step)".

    Attributes:
        reason: the class of failure: a `FailureReason` without its prefix ("STEP_LIMIT"), or the
            gRPC code that refused the start ("PERMISSION_DENIED").
        step: where it happened, for instance "model_call 2"; "start_agent" or "start_workflow" when
            nothing started.
        execution: the execution as it ended, or None when nothing is known of one.
    """

    error_type: ClassVar[errors.ErrorType]
    kind: ClassVar[Kind]
    execution: Execution | None

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        step: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(details) if details is not None else {"reason": reason, "step": step}
        super().__init__(
            _one_line(reason, message, step), given, type=self.error_type, non_retryable=True
        )
        self.reason = reason
        self.step = step
        self.execution = _DETAILS_DECODERS[self.kind](given)

    @property
    def execution_id(self) -> str:
        """The execution's id; empty when none was started, or none is known."""
        return self.execution.id if self.execution is not None else ""


class AgentExecutionError(ExecutionError):
    """An agent that was asked for did not complete. Not retryable."""

    kind = Kind.AGENT
    error_type = errors.ErrorType.FAILED
    execution: AgentExecution | None


class AgentExecutionFailed(AgentExecutionError):  # noqa: N818 - named after the outcome
    """The agent failed, or could not be started."""


class AgentExecutionTimedOut(AgentExecutionError):  # noqa: N818 - named after the outcome
    """The agent, or the activity that waited for it, took too long."""

    error_type = errors.ErrorType.TIMEOUT


class AgentExecutionCancelled(AgentExecutionError):  # noqa: N818 - named after the outcome
    """The agent was cancelled through the API; a cancelled caller gets a CancelledError."""

    error_type = errors.ErrorType.CANCELLED


class WorkflowExecutionError(ExecutionError):
    """A Stigma workflow that was asked for did not complete. Not retryable."""

    kind = Kind.WORKFLOW
    error_type = errors.ErrorType.WORKFLOW_FAILED
    execution: WorkflowExecution | None


class WorkflowExecutionFailed(WorkflowExecutionError):  # noqa: N818 - named after the outcome
    """The workflow failed, or could not be started."""


class WorkflowExecutionTimedOut(WorkflowExecutionError):  # noqa: N818 - named after the outcome
    """The workflow, or the activity that waited for it, took too long."""

    error_type = errors.ErrorType.WORKFLOW_TIMEOUT


class WorkflowExecutionCancelled(WorkflowExecutionError):  # noqa: N818 - named after the outcome
    """The workflow was cancelled through the API; a cancelled caller gets a CancelledError."""

    error_type = errors.ErrorType.WORKFLOW_CANCELLED


def not_started(kind: Kind, message: str, reason: str) -> ExecutionError:
    """Return the error of a call that is not even made."""
    return _FAILED[kind](message, reason=reason, step=f"start_{kind}")


def unexpected_result(kind: Kind, message: str) -> ExecutionError:
    """Return the error of a call whose outcome is not one that Stigma delivers."""
    return _FAILED[kind](message, reason="INTERNAL")


def from_activity_error(error: ActivityError, kind: Kind) -> ExecutionError:
    """Return the error that a failed calling activity is to its workflow."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _CLASSES[kind]:
        return _of_outcome(_CLASSES[kind][cause.type], cause)
    # A back-off that does not fit before the deadline ends with the last attempt's error, not
    # with a TimeoutError.
    if isinstance(cause, TimeoutError) or error.retry_state == RetryState.TIMEOUT:
        return _TIMED_OUT[kind](
            f"no outcome before the activity's timeout{_innermost_message(cause)}",
            reason="DEADLINE",
        )
    return unexpected_result(kind, f"the calling activity failed{_innermost_message(cause)}")


_DETAILS_DECODERS: dict[Kind, Callable[[object], Execution | None]] = {
    Kind.AGENT: errors.execution_from_details,
    Kind.WORKFLOW: errors.workflow_execution_from_details,
}
_FAILED: dict[Kind, type[ExecutionError]] = {
    Kind.AGENT: AgentExecutionFailed,
    Kind.WORKFLOW: WorkflowExecutionFailed,
}
_TIMED_OUT: dict[Kind, type[ExecutionError]] = {
    Kind.AGENT: AgentExecutionTimedOut,
    Kind.WORKFLOW: WorkflowExecutionTimedOut,
}
_CANCELLED: dict[Kind, type[ExecutionError]] = {
    Kind.AGENT: AgentExecutionCancelled,
    Kind.WORKFLOW: WorkflowExecutionCancelled,
}
_CLASSES: dict[Kind, dict[str | None, type[ExecutionError]]] = {
    kind: {
        outcome[kind].error_type.value: outcome[kind]
        for outcome in (_FAILED, _TIMED_OUT, _CANCELLED)
    }
    for kind in Kind
}


def _of_outcome(outcome: type[ExecutionError], cause: ApplicationError) -> ExecutionError:
    details = errors.detail_of(cause)
    if details is None:
        return outcome(cause.message, reason="INTERNAL")
    return outcome(
        cause.message,
        reason=str(details.get("reason", "INTERNAL")),
        step=str(details.get("step", "")),
        details=details,
    )


def _one_line(reason: str, message: str, step: str) -> str:
    """Return "REASON: message (at step)"; what the message says already is not said twice."""
    return errors.at_step(errors.with_reason(message, reason), step)


def _innermost_message(cause: BaseException | None) -> str:
    """Return the innermost message that Temporal kept: a timeout carries the last attempt's."""
    while isinstance(cause, FailureError) and isinstance(cause.cause, FailureError):
        cause = cause.cause
    return f": {cause.message}" if isinstance(cause, FailureError) else ""
