"""Words for the attempts of a pending activity: how the last one ended, which one is now."""

from __future__ import annotations

from temporalio.api.enums.v1 import PendingActivityState, TimeoutType
from temporalio.api.workflow.v1 import PendingActivityInfo

from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.engine_calls import CALL_GRPC, CALL_HTTP, CALL_OPENAPI, FETCH_RESOURCE
from stigma_api.temporal.failures import failure_class

WORKER_SHUTDOWN = "WorkerShutdown"
"""Error type of an attempt whose worker was stopped, as at each rollout: the call is not wrong."""

# Their activities end the call before Temporal's timeouts: only a lost worker comes to one.
_ENGINE_CALLS = frozenset({CALL_HTTP, CALL_OPENAPI, CALL_GRPC, FETCH_RESOURCE})
_AT_WORK = frozenset(
    {
        PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
        PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,
    }
)


def interruption(pending: PendingActivityInfo) -> str:
    """Return what came between the last attempt and its end; "" for one that failed by itself.

    For instance "its worker was lost".
    """
    if failure_class(pending.last_failure) == WORKER_SHUTDOWN:
        return "its worker was stopped"
    timeout = pending.last_failure.timeout_failure_info.timeout_type
    name = pending.activity_type.name
    if timeout == TimeoutType.TIMEOUT_TYPE_HEARTBEAT:
        # An agent's call holds no worker: its heartbeats come from the agent's execution.
        return "its heartbeats failed to come" if name == CALL_AGENT else "its worker was lost"
    if timeout == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE and name in _ENGINE_CALLS:
        return "its worker was lost"
    return ""


def upcoming(pending: PendingActivityInfo) -> str:
    """Return which attempt is at work, or comes next: "attempt 2 is under way"."""
    state = "is under way" if pending.state in _AT_WORK else "follows"
    return f"attempt {pending.attempt} {state}"


def retry_text(pending: PendingActivityInfo) -> str:
    """Return how the last attempt ended, and which one is now."""
    ended = interruption(pending) or f"last attempt: {failure_class(pending.last_failure)}"
    return f"{ended}, {upcoming(pending)}"


def failing_text(what: str, pending: PendingActivityInfo) -> str:
    """Return what an activity that is tried again is at; it fails only where an attempt did.

    Args:
        what: name of the step, for instance "HTTP call /do/0/fetch".
        pending: its activity, of which an attempt has ended.
    """
    if interruption(pending):
        return f"{what}: {retry_text(pending)}"
    return f"{what} fails: {attempts_text(pending)}"


def attempts_text(pending: PendingActivityInfo) -> str:
    """Return the class of the last attempt's failure, and which one is now."""
    return f"the last attempt ended by {failure_class(pending.last_failure)}, {upcoming(pending)}"
