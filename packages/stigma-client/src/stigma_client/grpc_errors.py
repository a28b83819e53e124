"""Errors of gRPC calls to the API, as failures of the activity that made them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from stigma.contracts.errors import ErrorType, at_step
from stigma.contracts.executions import Kind
from stigma.contracts.workflows import UpdateRefusal

# Status codes that a retry may mend; every other one is the API's answer.
TRANSIENT = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,  # connections reset in the middle of a reply
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)

# Error types of refused calls: as if the execution had failed.
FAILED = {Kind.AGENT: ErrorType.FAILED, Kind.WORKFLOW: ErrorType.WORKFLOW_FAILED}

# Answers that a caller has to expect. Their failures are benign: the worker logs no traceback.
_EXPECTED = frozenset(
    {
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)

# What gRPC raises for a call that ended, and for one that it could not make.
RPC_ERRORS: tuple[type[Exception], ...] = (grpc.aio.AioRpcError, grpc.aio.BaseError)

# Attempts after which INTERNAL is the API's answer, no longer a broken connection.
_INTERNAL_ATTEMPTS = 5

_STATUS_DETAILS = "grpc-status-details-bin"


def application_error_from(
    error: Exception, kind: Kind, *, call: str, step: str, attempt: int = 1
) -> ApplicationError:
    """Return the failure of an activity whose `call`, an RPC's name, ended with `error`.

    Its message is "REASON: message (at step)".

    Transient codes become retryable failures, of the code's name as their type, which honour the
    server's RetryInfo; INTERNAL only up to the fifth `attempt`. Every other code fails the activity
    for good with AGENT_EXECUTION_FAILED or WORKFLOW_EXECUTION_FAILED, whose detail has the code as
    `reason`, the `step`, and the refused fields as `field_violations`. So does SESSION_BUSY, the
    ABORTED of a start with SESSION_POLICY_REJECT, as its own `reason`, and an error that is no
    status: gRPC could not make the call.
    """
    if not isinstance(error, grpc.aio.AioRpcError):
        # Without its text, which may repeat the call's metadata.
        return ApplicationError(
            at_step(f"INTERNAL: {call} cannot be sent ({type(error).__name__})", step),
            {"reason": "INTERNAL", "step": step},
            type=FAILED[kind],
            non_retryable=True,
        )
    code, status = error.code(), _status_with_details(error)
    exhausted = code is grpc.StatusCode.INTERNAL and attempt >= _INTERNAL_ATTEMPTS
    # The one ABORTED that is an answer: the caller asked to be refused, not to wait.
    is_busy = (
        code is grpc.StatusCode.ABORTED and _error_reason(status) == UpdateRefusal.SESSION_BUSY
    )
    if code in TRANSIENT and not exhausted and not is_busy:
        return ApplicationError(
            at_step(f"{code.name}: {error.details()}", step),
            type=code.name,
            next_retry_delay=_retry_delay(status),
        )
    violations = _field_violations(status)
    fields = "".join(
        f"; {violation['field']}: {violation['description']}" for violation in violations
    )
    reason = UpdateRefusal.SESSION_BUSY.value if is_busy else code.name
    details: dict[str, Any] = {"reason": reason, "step": step}
    if violations:
        details["field_violations"] = violations
    return ApplicationError(
        at_step(f"{reason}: {error.details()}{fields}", step),
        details,
        type=FAILED[kind],
        non_retryable=True,
        category=(
            ApplicationErrorCategory.BENIGN
            if code in _EXPECTED or is_busy
            else ApplicationErrorCategory.UNSPECIFIED
        ),
    )


def _status_with_details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _error_reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return info.reason if _unpack(status, info) else ""


def _retry_delay(status: status_pb2.Status) -> timedelta | None:
    info = error_details_pb2.RetryInfo()
    return info.retry_delay.ToTimedelta() if _unpack(status, info) else None


def _field_violations(status: status_pb2.Status) -> list[dict[str, str]]:
    request = error_details_pb2.BadRequest()
    _unpack(status, request)
    return [
        {"field": violation.field, "description": violation.description}
        for violation in request.field_violations
    ]


def _unpack(status: status_pb2.Status, into: Message) -> bool:
    return any(detail.Unpack(into) for detail in status.details)
