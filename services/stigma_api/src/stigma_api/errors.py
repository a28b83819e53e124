"""Errors of the API: a gRPC code, one line, and google.rpc details."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

ERROR_DOMAIN = "stigma.dev"

# An answer's message and details travel in its trailers, the message twice, where each byte may
# take three. Of trailers over 8 KiB gRPC makes RESOURCE_EXHAUSTED, which callers retry.
_MAX_MESSAGE_BYTES = 1000
_MAX_PART_BYTES = 300
_MAX_TRAILERS_BYTES = 8 * 1024 - 600
"""Those of the status, besides what every answer has."""
_MAX_VIOLATIONS = 100
_ENVELOPE_BYTES = 150
"""Of a status and a detail around their content."""


class ApiError(Exception):
    """An error that a door answers with. Its message never holds a token, key or prompt.

    Args:
        code: of the answer.
        message: in one line.
        details: google.rpc details.
        violations: paths of invalid fields with what is wrong, all of them.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *details: Message,
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        message = _shortened(message, _MAX_MESSAGE_BYTES)
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.violations = tuple(violations)

    @property
    def fields(self) -> list[str]:
        """Return the paths of the invalid fields, if there are any."""
        return [
            violation.field
            for detail in self.details
            if isinstance(detail, BadRequest)
            for violation in detail.field_violations
        ]

    @property
    def reason(self) -> str:
        """Return the machine-readable name of a refusal; "" where it has none."""
        infos = (detail for detail in self.details if isinstance(detail, ErrorInfo))
        return next((str(info.reason) for info in infos), "")

    def to_grpc(self) -> grpc.Status:
        """Return the status for `abort_with_status`."""
        status = Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        answer: grpc.Status = rpc_status.to_status(status)
        return answer


def invalid_argument(violations: Sequence[tuple[str, str]]) -> ApiError:
    """Return INVALID_ARGUMENT with the path of each invalid field, as many as fit.

    The message has the first, the details have more of them.
    """
    shown = [
        (_shortened(field, _MAX_PART_BYTES), _shortened(description, _MAX_PART_BYTES))
        for field, description in violations[:_MAX_VIOLATIONS]
    ]
    lines = _fitting([f"{field}: {description}" for field, description in shown])
    detail = _bad_request(shown, lines)
    told = len(detail.field_violations)
    if told > len(lines):
        lines.append(f"{told - len(lines)} in the details")
    if len(violations) > told:
        lines.append(f"and {len(violations) - told} more")
    return ApiError(
        grpc.StatusCode.INVALID_ARGUMENT, "; ".join(lines), detail, violations=violations
    )


def _fitting(lines: Sequence[str]) -> list[str]:
    """Return the first lines, as many as the message has room for, beside two counts."""
    room = _MAX_MESSAGE_BYTES - len("100 in the details; and 4294967295 more")
    sizes = accumulate(len(f"{line}; ".encode()) for line in lines)
    return [line for line, size in zip(lines, sizes, strict=True) if size <= room]


def _bad_request(violations: Sequence[tuple[str, str]], lines: Sequence[str]) -> BadRequest:
    """Return violations, those of the message's lines and as many more as the trailers take."""
    message = "; ".join(lines).encode()
    # gRPC's own encoding of the message, and base64 of the details, which have it once more.
    encoded = len(message) + 2 * sum(not 32 <= byte <= 126 or byte == ord("%") for byte in message)
    room = (_MAX_TRAILERS_BYTES - encoded) * 3 // 4 - len(message) - _ENVELOPE_BYTES
    detail = BadRequest()
    for field, description in violations:
        detail.field_violations.add(field=field, description=description)
        if detail.ByteSize() > room and len(detail.field_violations) > len(lines):
            del detail.field_violations[-1]
            break
    return detail


def not_found(what: str) -> ApiError:
    """Return NOT_FOUND; `what` names the missing thing."""
    return ApiError(grpc.StatusCode.NOT_FOUND, f"{_shortened(what, _MAX_PART_BYTES)} not found")


def already_exists(message: str) -> ApiError:
    """Return ALREADY_EXISTS."""
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, message)


def permission_denied(message: str) -> ApiError:
    """Return PERMISSION_DENIED."""
    return ApiError(grpc.StatusCode.PERMISSION_DENIED, message)


def failed_precondition(reason: str, message: str) -> ApiError:
    """Return FAILED_PRECONDITION; `reason` is its machine-readable name."""
    detail = ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message, detail)


def unavailable(message: str) -> ApiError:
    """Return UNAVAILABLE: the same call may succeed later."""
    return ApiError(grpc.StatusCode.UNAVAILABLE, message)


def resource_exhausted(message: str, retry_after: timedelta) -> ApiError:
    """Return RESOURCE_EXHAUSTED with the delay before a retry."""
    detail = RetryInfo()
    detail.retry_delay.FromTimedelta(retry_after)
    return ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, message, detail)


def _shortened(text: str, size: int) -> str:
    content = text.encode()
    return text if len(content) <= size else content[: size - 3].decode(errors="ignore") + "…"
