"""A look at a caller: one heartbeat of its activity, which says whether it still waits.

The heartbeat also keeps the caller's activity alive, and its response says whether the caller
requested a cancellation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.api.workflowservice.v1 import RecordActivityTaskHeartbeatRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import engine, tokens
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_CANCEL_REQUESTED,
    CALLER_VERDICT_GONE,
    Bind,
    CallerVerdict,
    WatchCallerRequest,
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
# The heartbeat timeout of a caller that declares none cannot be looked up either, and may be short.
_AFTER_FAULT = timedelta(seconds=5)
_REFUSALS = frozenset(
    {
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
    }
)


@dataclass(frozen=True)
class Look:
    """Result of a look: a verdict, or after which delay to look again, and why."""

    verdict: CallerVerdict.ValueType | None = None
    delay: timedelta = _MIN_DELAY
    why: str = "waiting"
    lost_since: datetime | None = None
    """When a look first missed the attempt, unless it was found again since."""


class CallerLooks:
    """Looks at callers; never raises for an RPC."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def look(
        self, request: WatchCallerRequest, now: datetime, lost_since: datetime | None
    ) -> Look:
        """Look once.

        Args:
            request: says whose caller it is.
            now: by Temporal's clock.
            lost_since: of the look before.
        """
        bind = request.binding
        try:
            if (requested := await self._beat(bind, request.execution_id)) is not None:
                if requested:
                    return Look(CALLER_VERDICT_CANCEL_REQUESTED)
                lost_since = None
                if interval := declared_interval(bind.caller):
                    return Look(delay=_at_least(interval))
            return await self._look_up(bind, now, lost_since, alive=requested is not None)
        except RPCError as error:
            # The RPC's own text may quote the request.
            delay = declared_interval(bind.caller) or _undeclared_delay(error.status)
            return Look(delay=_at_least(delay), why=error.status.name, lost_since=lost_since)

    async def _beat(self, bind: Bind, execution_id: str) -> bool | None:
        """Return whether the attempt requests its cancellation; None when there is none."""
        workflow_id = tokens.parse(bind.token).workflow_id
        try:
            heartbeat = await self._client.workflow_service.record_activity_task_heartbeat(
                RecordActivityTaskHeartbeatRequest(
                    namespace=bind.caller.namespace or self._client.namespace,
                    task_token=bind.token,
                    identity=self._client.identity,
                    details=engine.heartbeat_details(workflow_id, execution_id),
                ),
                retry=True,
                timeout=_RPC_TIMEOUT,
            )
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None
        return heartbeat.cancel_requested

    async def _look_up(
        self, bind: Bind, now: datetime, lost_since: datetime | None, *, alive: bool
    ) -> Look:
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
            return _gone_after_grace(bind, now, lost_since or now)
        if pending is None and not alive:
            return Look(CALLER_VERDICT_GONE)
        return Look(delay=_at_least(shown_interval(pending)), lost_since=lost_since)


def _gone_after_grace(bind: Bind, now: datetime, lost_since: datetime) -> Look:
    """Return GONE for an activity that may not be looked up, once its grace period is over.

    Before that, its next attempt may still come.
    """
    left = lost_since + grace_period(bind.caller) - now
    if left <= timedelta():
        return Look(CALLER_VERDICT_GONE)
    return Look(delay=_at_least(left), why="lost", lost_since=lost_since)


def _undeclared_delay(status: RPCStatusCode) -> timedelta:
    """Return when to look again at a caller that declares no heartbeat timeout, after an error."""
    return DEFAULT_GRACE if status in _REFUSALS else _AFTER_FAULT


def _at_least(delay: timedelta) -> timedelta:
    return max(delay, _MIN_DELAY)
