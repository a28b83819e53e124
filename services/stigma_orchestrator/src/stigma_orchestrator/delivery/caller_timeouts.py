"""The times of the watch over a caller, all derived from its heartbeat timeout."""

from __future__ import annotations

from datetime import timedelta

from temporalio.api.workflow.v1 import PendingActivityInfo

from stigma.agent.v1.agent_execution_pb2 import TemporalCaller
from stigma.contracts import limits

DEFAULT_GRACE = timedelta(minutes=5)
"""Stands for the heartbeat timeout of an activity that neither declares nor shows one."""

# The heartbeat timeout of a watch is above three looks, and leaves the caller what another worker
# needs to take over: the caller's heartbeat is never older than that of the watch.
_KEPT_SHARE = 0.84
_TAKE_OVER = timedelta(seconds=20)
_LEAST_KEPT_SHARE = 0.6
_FIRST_CHECK = timedelta(seconds=10)
# The heartbeat timeout is not known yet, and may be short: the first check reads it.
_FIRST_CHECK_UNDECLARED = timedelta(seconds=2)
_WITHOUT_HEARTBEAT = timedelta(seconds=60)


def grace_period(caller: TemporalCaller) -> timedelta:
    """Return how long an activity may be out of reach when looking it up is not permitted.

    Its next attempt, if there is one, is expected to bind within this time.
    """
    return caller.heartbeat_timeout.ToTimedelta() or DEFAULT_GRACE


def first_check(caller: TemporalCaller) -> timedelta:
    """Return the delay of the first check: early enough to be the activity's first heartbeat."""
    if caller.HasField("heartbeat_timeout"):
        return min(_FIRST_CHECK, declared_interval(caller))
    return _FIRST_CHECK_UNDECLARED


def declared_interval(caller: TemporalCaller) -> timedelta:
    """Return a quarter of the heartbeat timeout that the caller declared, zero without one."""
    return caller.heartbeat_timeout.ToTimedelta() / 4


def watch_heartbeat_timeout(caller: TemporalCaller) -> timedelta | None:
    """Return the heartbeat timeout of the watch over a caller; None for one that is not kept."""
    declared = caller.heartbeat_timeout.ToTimedelta()
    is_kept = declared >= limits.LEAST_KEPT_HEARTBEAT_TIMEOUT
    longest = min(declared * _KEPT_SHARE, declared - _TAKE_OVER)
    return max(declared * _LEAST_KEPT_SHARE, longest) if is_kept else None


def shown_interval(pending: PendingActivityInfo | None) -> timedelta:
    """Return a quarter of the heartbeat timeout that Temporal shows."""
    if pending is None:
        return DEFAULT_GRACE
    heartbeat_timeout = pending.activity_options.heartbeat_timeout.ToTimedelta()
    return heartbeat_timeout / 4 if heartbeat_timeout else _WITHOUT_HEARTBEAT
