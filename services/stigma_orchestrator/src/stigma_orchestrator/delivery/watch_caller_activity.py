"""The activity that checks whether a caller still waits: one heartbeat, no more.

A check that finds the caller waiting fails, benignly, with the delay of the next one: between
checks nothing holds a slot and nothing is written to the history. The heartbeat also keeps the
caller's activity alive, and its response says whether the caller requested a cancellation.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import activity
from temporalio.api.workflowservice.v1 import RecordActivityTaskHeartbeatRequest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from stigma.contracts import tokens
from stigma.contracts.activities import WATCH_CALLER, CallerWatchActivities
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_CANCEL_REQUESTED,
    CALLER_VERDICT_GONE,
    Bind,
    CallerVerdict,
    WatchCallerRequest,
    WatchCallerResponse,
)
from stigma.runtime.pending_activities import find_pending_activity
from stigma_orchestrator.delivery.caller_timeouts import (
    DEFAULT_GRACE,
    declared_interval,
    grace_period,
    shown_interval,
)

_RPC_TIMEOUT = timedelta(seconds=5)
_MIN_DELAY = timedelta(seconds=1)


class CallerWatcher(CallerWatchActivities):
    """Checks the callers of executions that take long."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @override
    @activity.defn(name=WATCH_CALLER)
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        bind = request.binding
        try:
            verdict = await self._check(bind)
        except RPCError as error:
            # The RPC's own text may quote the request.
            raise _retry_later(
                declared_interval(bind.caller) or DEFAULT_GRACE, error.status.name
            ) from None
        return WatchCallerResponse(verdict=verdict)

    async def _check(self, bind: Bind) -> CallerVerdict.ValueType:
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
            _record_lost_since(None)
            if interval := declared_interval(bind.caller):
                raise _retry_later(interval, "waiting")
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
            return _gone_after_grace(bind)
        if pending is not None or alive:
            raise _retry_later(shown_interval(pending), "waiting")
        return CALLER_VERDICT_GONE


def _gone_after_grace(bind: Bind) -> CallerVerdict.ValueType:
    """Return GONE for an activity that may not be looked up, once its grace period is over.

    Raises:
        ApplicationError: its next attempt may still come.
    """
    now = activity.info().started_time  # by Temporal's clock, as the others
    lost = _lost_since() or now
    left = lost + grace_period(bind.caller) - now
    if left <= timedelta():
        return CALLER_VERDICT_GONE
    _record_lost_since(lost)
    raise _retry_later(left, "lost")


def _lost_since() -> datetime | None:
    """Return when an earlier check first missed the attempt, unless it was found again since."""
    recorded = next(iter(activity.info().heartbeat_details), None)
    return datetime.fromisoformat(recorded) if recorded else None


def _record_lost_since(since: datetime | None) -> None:
    """Record it for the next check: an activity keeps nothing but its heartbeat details."""
    if since != _lost_since():
        activity.heartbeat(since.isoformat() if since else "")


def _retry_later(delay: timedelta, message: str) -> ApplicationError:
    return ApplicationError(
        message,
        type="CALLER_WAITING",
        next_retry_delay=max(delay, _MIN_DELAY),
        category=ApplicationErrorCategory.BENIGN,
    )
