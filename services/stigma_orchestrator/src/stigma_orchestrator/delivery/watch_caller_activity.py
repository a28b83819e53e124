"""The system activity that looks whether a caller still waits: one heartbeat, no more.

A look that finds the caller waiting fails, benignly, and says when to look again: between looks
nothing holds a slot and nothing is written to the history. The heartbeat also keeps the caller's
activity alive, and a caller that asked for cancellation is told by it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import RecordActivityTaskHeartbeatRequest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import tokens
from stigma.contracts.activities import WATCH_CALLER
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_CANCEL_REQUESTED,
    CALLER_VERDICT_GONE,
    Bind,
    CallerVerdict,
    WatchCallerRequest,
    WatchCallerResponse,
)
from stigma.runtime.pending_activities import find_pending_activity
from stigma_orchestrator.delivery.caller_timeouts import UNKNOWN, patience

_RPC_TIMEOUT = timedelta(seconds=5)
_WITHOUT_HEARTBEAT = timedelta(seconds=60)
_SHORTEST = timedelta(seconds=1)


class CallerWatcher:
    """Looks after the callers of agents that work for long."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(name=WATCH_CALLER)
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        """Look once.

        Returns:
            What became of the caller, once it no longer waits.

        Raises:
            ApplicationError: it waits, or Temporal did not answer; carries when to look again.
        """
        bind = request.binding
        try:
            verdict = await self._look(bind)
        except RPCError as error:
            # The RPC's own text may quote the request.
            raise _look_again(_declared(bind) or UNKNOWN, error.status.name) from None
        return WatchCallerResponse(verdict=verdict)

    async def _look(self, bind: Bind) -> CallerVerdict.ValueType:
        alive = True
        try:
            heartbeat = await self._client.workflow_service.record_activity_task_heartbeat(
                RecordActivityTaskHeartbeatRequest(
                    namespace=bind.caller.namespace or self._client.namespace,
                    task_token=bind.token,
                    identity=self._client.identity,
                ),
                retry=True,
                timeout=_RPC_TIMEOUT,
            )
            if heartbeat.cancel_requested:
                return CALLER_VERDICT_CANCEL_REQUESTED
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            alive = False
        if alive:
            _note_lost(None)
            if interval := _declared(bind):
                raise _look_again(interval, "waiting")
        token = tokens.parse(bind.token)
        try:
            pending = await find_pending_activity(
                self._client,
                namespace=bind.caller.namespace,
                workflow_id=token.workflow_id,
                run_id=token.run_id,
                activity_id=token.activity_id,
            )
        except RPCError as error:
            if alive or error.status != RPCStatusCode.PERMISSION_DENIED:
                raise
            return _give_up(bind)
        if pending is not None or alive:
            raise _look_again(_interval(pending), "waiting")
        return CALLER_VERDICT_GONE


def _give_up(bind: Bind) -> CallerVerdict.ValueType:
    """Return that a caller is gone whom we may not look up, once it was given its time to return.

    Raises:
        ApplicationError: its next attempt may still come.
    """
    now = datetime.now(UTC)
    lost = _lost_since() or now
    left = lost + patience(bind.caller) - now
    if left <= timedelta():
        return CALLER_VERDICT_GONE
    _note_lost(lost)
    raise _look_again(left, "lost")


def _lost_since() -> datetime | None:
    """When an earlier look first found the attempt gone, unless it was found again since."""
    noted = next(iter(activity.info().heartbeat_details), None)
    return datetime.fromisoformat(noted) if noted else None


def _note_lost(since: datetime | None) -> None:
    """Leave a note for the next look: what this activity heartbeats is all that it keeps."""
    if since != _lost_since():
        activity.heartbeat(since.isoformat() if since else "")


def _declared(bind: Bind) -> timedelta:
    """A quarter of the heartbeat timeout that the caller declared, zero when it did not."""
    return bind.caller.heartbeat_timeout.ToTimedelta() / 4


def _interval(pending: PendingActivityInfo | None) -> timedelta:
    """A quarter of the heartbeat timeout that Temporal shows."""
    if pending is None:
        return UNKNOWN
    heartbeat_timeout = pending.activity_options.heartbeat_timeout.ToTimedelta()
    return heartbeat_timeout / 4 if heartbeat_timeout else _WITHOUT_HEARTBEAT


def _look_again(interval: timedelta, why: str) -> ApplicationError:
    return ApplicationError(
        why,
        type="CALLER_WAITING",
        next_retry_delay=max(interval, _SHORTEST),
        category=ApplicationErrorCategory.BENIGN,
    )
