"""What `run_agent` raises.

    ApplicationError                    (temporalio)
      └ AgentExecutionError
          ├ AgentExecutionFailed        AGENT_EXECUTION_FAILED
          ├ AgentExecutionTimedOut      AGENT_EXECUTION_TIMEOUT, or the activity's own timeout
          └ AgentExecutionCancelled     AGENT_EXECUTION_CANCELLED, through the API

They are application errors because those fail a workflow that does not catch them; any other
exception would leave its workflow task failing for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class AgentExecutionError(ApplicationError):
    """An agent that was asked for did not complete. Not retryable.

    Attributes:
        reason: the class of failure: a `FailureReason` without its prefix ("STEP_LIMIT"), or the
            gRPC code that refused the start ("PERMISSION_DENIED").
        step: where it happened, for instance "model_call 2"; "start_agent" when nothing started.
        execution: the execution as it ended, or None when nothing is known of one.
    """

    error_type: ClassVar[errors.ErrorType] = errors.ErrorType.FAILED

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        step: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(details) if details is not None else {"reason": reason, "step": step}
        super().__init__(message, given, type=self.error_type, non_retryable=True)
        self.reason = reason
        self.step = step
        self.execution: AgentExecution | None = errors.execution_from_details(given)

    @property
    def execution_id(self) -> str:
        """The execution's id; empty when none was started, or none is known."""
        return self.execution.id if self.execution is not None else ""


class AgentExecutionFailed(AgentExecutionError):  # noqa: N818 - named after the outcome
    """The agent failed, or could not be started."""


class AgentExecutionTimedOut(AgentExecutionError):  # noqa: N818 - named after the outcome
    """The agent, or the activity that waited for it, took too long."""

    error_type = errors.ErrorType.TIMEOUT


class AgentExecutionCancelled(AgentExecutionError):  # noqa: N818 - named after the outcome
    """The agent was cancelled through the API. (A cancelled caller gets a CancelledError.)"""

    error_type = errors.ErrorType.CANCELLED


def of_activity(error: ActivityError) -> AgentExecutionError:
    """Return what a failed calling activity means to its workflow."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _CLASSES:
        return _of_outcome(_CLASSES[cause.type], cause)
    # A back-off that does not fit before the deadline ends with the last attempt's error, not
    # with a TimeoutError.
    if isinstance(cause, TimeoutError) or error.retry_state == RetryState.TIMEOUT:
        return AgentExecutionTimedOut(
            f"no outcome before the activity's timeout{_last_words(cause)}", reason="DEADLINE"
        )
    return AgentExecutionFailed(
        f"the calling activity failed{_last_words(cause)}", reason="INTERNAL"
    )


_CLASSES: dict[str | None, type[AgentExecutionError]] = {
    kind.error_type.value: kind
    for kind in (AgentExecutionFailed, AgentExecutionTimedOut, AgentExecutionCancelled)
}


def _of_outcome(kind: type[AgentExecutionError], cause: ApplicationError) -> AgentExecutionError:
    details = cause.details[0] if cause.details else None
    if not isinstance(details, Mapping):
        return kind(cause.message, reason="INTERNAL")
    return kind(
        cause.message,
        reason=str(details.get("reason", "INTERNAL")),
        step=str(details.get("step", "")),
        details=details,
    )


def _last_words(cause: BaseException | None) -> str:
    """Return the innermost message that Temporal kept: a timeout carries the last attempt's."""
    while isinstance(cause, FailureError) and isinstance(cause.cause, FailureError):
        cause = cause.cause
    return f": {cause.message}" if isinstance(cause, FailureError) else ""
