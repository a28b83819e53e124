"""Failure types that cross to callers, and the details they carry.

Details are plain JSON: a protobuf detail whose stub a caller has not imported breaks the failure
converters of the SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf import json_format

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    AgentExecution,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts.executions import Execution, Kind
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution

if TYPE_CHECKING:  # readers of outcomes need no Temporal
    from temporalio.exceptions import ApplicationError

E = TypeVar("E", AgentExecution, WorkflowExecution)


class ErrorType(StrEnum):
    """`type` of the ApplicationError that a caller's activity fails with."""

    FAILED = "AGENT_EXECUTION_FAILED"
    TIMEOUT = "AGENT_EXECUTION_TIMEOUT"
    CANCELLED = "AGENT_EXECUTION_CANCELLED"
    WORKFLOW_FAILED = "WORKFLOW_EXECUTION_FAILED"
    WORKFLOW_TIMEOUT = "WORKFLOW_EXECUTION_TIMEOUT"
    WORKFLOW_CANCELLED = "WORKFLOW_EXECUTION_CANCELLED"

    @classmethod
    def of(cls, execution: Execution) -> ErrorType:
        """Return the type that an execution's kind and terminal phase stand for."""
        match execution.status.phase:
            case phase if phase == AGENT_EXECUTION_PHASE_TIMED_OUT:
                end = "TIMEOUT"
            case phase if phase == AGENT_EXECUTION_PHASE_CANCELLED:
                end = "CANCELLED"
            case _:
                end = "FAILED"
        return cls(f"{Kind.of(execution).upper()}_EXECUTION_{end}")


def failure_message(execution: Execution) -> str:
    """Return the one line that a caller reads: "REASON: message (at step)".

    The execution's id is in the details.
    """
    failure = execution.status.failure
    return at_step(with_reason(failure.message, reason_name(failure.reason)), failure.step)


def at_step(message: str, step: str) -> str:
    """Return "message (at step)", also where the message says its step already, as 0.1.0 did."""
    if not step or message.endswith(f"(at {step})"):
        return message
    return f"{message.removesuffix(f' at {step}')} (at {step})"


def with_reason(message: str, reason: str) -> str:
    """Return "REASON: message", also where the message says its reason already."""
    if message.upper() == reason:
        return reason
    return message if not reason or message.startswith(f"{reason}: ") else f"{reason}: {message}"


def failure_details(execution: Execution) -> dict[str, Any]:
    """Return the detail of a failure: `execution` (its JSON form), `reason` and `step`."""
    failure = execution.status.failure
    return {
        "execution": json_format.MessageToDict(execution),
        "reason": reason_name(failure.reason),
        "step": failure.step,
    }


def detail_of(error: ApplicationError) -> Mapping[str, Any] | None:
    """Return the first detail of an error, or None when it has none that is a mapping."""
    detail = error.details[0] if error.details else None
    return detail if isinstance(detail, Mapping) else None


def execution_from_details(details: object) -> AgentExecution | None:
    """Return the agent execution in a failure's detail, or None when it carries none.

    Never raises.
    """
    return _from_details(details, AgentExecution)


def workflow_execution_from_details(details: object) -> WorkflowExecution | None:
    """Return the workflow execution in a failure's detail, or None when it carries none.

    Never raises.
    """
    return _from_details(details, WorkflowExecution)


def _from_details(details: object, execution_type: type[E]) -> E | None:
    """Read an execution.

    Never raises: a workflow task that failed over odd details would fail for ever.
    """
    if not isinstance(details, Mapping) or not isinstance(details.get("execution"), Mapping):
        return None
    try:
        return json_format.ParseDict(
            dict(details["execution"]), execution_type(), ignore_unknown_fields=True
        )
    except json_format.ParseError:
        return None


def reason_name(reason: FailureReason.ValueType) -> str:
    """Return a reason without its prefix, for instance "STEP_LIMIT"; INTERNAL for an unknown one.

    A later release may send a number that this one has no name for.
    """
    if reason not in FailureReason.values():
        reason = FailureReason.FAILURE_REASON_INTERNAL
    return FailureReason.Name(reason).removeprefix("FAILURE_REASON_")


def reason_of(name: str) -> FailureReason.ValueType:
    """Return the reason named, or INTERNAL for a name of another release."""
    try:
        return FailureReason.Value(f"FAILURE_REASON_{name}")
    except ValueError:
        return FailureReason.FAILURE_REASON_INTERNAL
