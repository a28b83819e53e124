"""Statuses of gRPC as errors of a run."""

from __future__ import annotations

import grpc

from zigflow_worker.errors import COMMUNICATION, WorkflowError

HTTP_STATUSES = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}
"""The table of google.rpc.Code."""
_MAX_DETAIL = 1_000
_TOO_LARGE = {
    "larger than max": "a message is larger than the limit",
    "exceeds hard limit": "the metadata is larger than the limit",
}
"""Words of gRPC's own status for what is beyond a limit."""


def error_of(error: grpc.RpcError) -> WorkflowError:
    """Return the error of a call that ended with a status."""
    code, details = error.code(), " ".join((error.details() or "").split())
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        for words, detail in _TOO_LARGE.items():
            if words in details:
                return WorkflowError.of(COMMUNICATION, detail)
    shown = details if len(details) <= _MAX_DETAIL else f"{details[:_MAX_DETAIL]}…"
    detail = f"{code.name}: {shown}" if shown else code.name
    return WorkflowError.of(COMMUNICATION, detail).with_status(HTTP_STATUSES.get(code, 500))


def unavailable(detail: str) -> WorkflowError:
    """Return the error of a server that is not there."""
    return WorkflowError.of(COMMUNICATION, detail).with_status(503)
