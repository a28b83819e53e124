"""Probes with one heartbeat whether a token's activity still waits."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum, auto

from temporalio.api.workflowservice.v1 import RecordActivityTaskHeartbeatRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import engine, tokens
from stigma_api import errors
from stigma_api.temporal.calls import temporal_call

_TIMEOUT = timedelta(seconds=3)


class Liveness(Enum):
    """The result of a probe."""

    WAITING = auto()
    CANCEL_REQUESTED = auto()
    """It waits, and its cancel was requested."""
    GONE = auto()
    """No such activity is pending: resolved, timed out, or of a closed workflow."""
    INVALID = auto()
    """Temporal cannot read the token, or it belongs to another namespace."""


class TokenProbe:
    """Proves that a token's activity is pending. It proves liveness, not ownership."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def check(self, token: bytes, namespace: str, execution_id: str) -> Liveness:
        """Send one heartbeat, not retried.

        Args:
            token: of the activity.
            namespace: the caller's; empty: Stigma's own.
            execution_id: what the activity will wait for.

        Raises:
            ApiError: UNAVAILABLE; Temporal gave no verdict within 3 s.
        """
        request = RecordActivityTaskHeartbeatRequest(
            namespace=namespace or self._client.namespace,
            task_token=token,
            identity=self._client.identity,
            details=engine.heartbeat_details(_workflow_id(token), execution_id),
        )
        try:
            async with temporal_call(_TIMEOUT):
                reply = await self._client.workflow_service.record_activity_task_heartbeat(
                    request, retry=False, timeout=_TIMEOUT
                )
        except RPCError as error:
            return _verdict(error)
        return Liveness.CANCEL_REQUESTED if reply.cancel_requested else Liveness.WAITING


def _workflow_id(token: bytes) -> str:
    """Return the workflow whose activity a token is of; empty for what is no token."""
    try:
        return tokens.parse(token).workflow_id
    except tokens.InvalidTokenError:
        return ""


def _verdict(error: RPCError) -> Liveness:
    if error.status == RPCStatusCode.INVALID_ARGUMENT:
        return Liveness.INVALID
    if error.status == RPCStatusCode.NOT_FOUND:
        return Liveness.GONE
    # The cause stays out: it is an answer to a request that holds the token.
    raise errors.unavailable(f"the callback token cannot be checked: {error.status.name}") from None
