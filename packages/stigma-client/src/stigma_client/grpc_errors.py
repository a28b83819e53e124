"""Errors of gRPC calls to the API, as failures of the activity that made them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from temporalio.exceptions import ApplicationError

from stigma.contracts.errors import ErrorType
from stigma.contracts.executions import Kind

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

_STATUS_DETAILS = "grpc-status-details-bin"


def application_error_from(
    error: grpc.aio.AioRpcError, kind: Kind, *, call: str, step: str
) -> ApplicationError:
    """Return the failure of an activity whose `call`, an RPC's name, ended with `error`.

    Transient codes become retryable failures, of the code's name as their type, which honour the
    server's RetryInfo. Every other code fails the activity for good with AGENT_EXECUTION_FAILED or
    WORKFLOW_EXECUTION_FAILED, whose detail has the code as `reason`, the `step`, and the refused
    fields as `field_violations`.
    """
    code, status = error.code(), _status_with_details(error)
    if code in TRANSIENT:
        return ApplicationError(
            f"{call}: {code.name}: {error.details()}",
            type=code.name,
            next_retry_delay=_retry_delay(status),
        )
    violations = _field_violations(status)
    fields = "".join(
        f"; {violation['field']}: {violation['description']}" for violation in violations
    )
    details: dict[str, Any] = {"reason": code.name, "step": step}
    if violations:
        details["field_violations"] = violations
    return ApplicationError(
        f"{call} was refused: {code.name}: {error.details()}{fields}",
        details,
        type=FAILED[kind],
        non_retryable=True,
    )


def _status_with_details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


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
