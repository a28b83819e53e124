"""Failures of calls, and whether Temporal retries them."""

from __future__ import annotations

from datetime import timedelta

from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_MODEL_TIMEOUT,
    FAILURE_REASON_PROVIDER_UNAVAILABLE,
    FAILURE_REASON_RATE_LIMITED,
    FailureReason,
)
from stigma.contracts.errors import reason_name

_RETRYABLE = frozenset(
    (
        FAILURE_REASON_RATE_LIMITED,
        FAILURE_REASON_PROVIDER_UNAVAILABLE,
        FAILURE_REASON_MODEL_TIMEOUT,
    )
)

# Longest delay that a provider can ask for.
_MAX_RETRY_AFTER = timedelta(hours=1)


class CallError(Exception):
    """A call that did not succeed.

    The message travels to the caller, the log and Temporal's history: one line, without a key,
    prompt or output.
    """

    def __init__(
        self,
        reason: FailureReason.ValueType,
        message: str,
        *,
        retry_after: float | None = None,
        final: bool = False,
    ) -> None:
        """`retry_after`: seconds until the provider accepts calls; `final`: never retried."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.retryable = reason in _RETRYABLE and not final

    def to_application_error(self) -> ApplicationError:
        """Return the error for Temporal: retryable or not, with the delay of the next attempt."""
        name = reason_name(self.reason)
        return ApplicationError(
            self.message,
            {"reason": name, "message": self.message},
            type=name,
            non_retryable=not self.retryable,
            next_retry_delay=self._next_retry_delay() if self.retryable else None,
        )

    def _next_retry_delay(self) -> timedelta | None:
        if self.retry_after is None:
            return None
        seconds = min(max(self.retry_after, 0.0), _MAX_RETRY_AFTER.total_seconds())
        return timedelta(seconds=seconds)
