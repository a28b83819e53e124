"""Refusals of updates: errors of validators, before history has anything of the update."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from stigma.contracts.workflows import UpdateRefusal


def refusal(why: UpdateRefusal, message: str) -> ApplicationError:
    """Return the error by which an update is refused."""
    return ApplicationError(message, type=str(why), non_retryable=True)
