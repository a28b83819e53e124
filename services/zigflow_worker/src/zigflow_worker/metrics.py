"""Prometheus metrics of `call: agent`, as the calling workflow sees it.

A call is counted where its workflow schedules it and where it resumes with the outcome: not by
attempts, not again in a replay or when a run leaves the cache, and with a duration that is right
although another process may have started it. A workflow task that is lost is done again, and
counted again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    RetryState,
    TimeoutError,  # noqa: A004 - Temporal's name for it
    is_cancelled_exception,
)
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from typing_extensions import override

from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.errors import ErrorType

COMPLETED = "completed"
FAILED = "failed"
TIMEOUT = "timeout"
CANCELLED = "cancelled"

# From an agent that had its answer ready to one that takes the default of a day.
_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400)

# The workflow's side reaches the registry, which is outside the sandbox, by these names.
_STARTED = "zigflow_agent_call_started"
_ENDED = "zigflow_agent_call_ended"


class AgentCallMetrics(Interceptor):
    """Counts and times calls of agents; an interceptor of the engine's worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter(
            "zigflow_agent_activity_started_total", "Calls of agents started.", registry=registry
        )
        self._ended = {
            outcome: Counter(
                f"zigflow_agent_activity_{outcome}_total",
                f"Calls of agents that {meaning}.",
                registry=registry,
            )
            for outcome, meaning in {
                COMPLETED: "completed",
                FAILED: "failed, or were refused",
                TIMEOUT: "were not done in time",
                CANCELLED: "were cancelled, by the document or through the API",
            }.items()
        }
        self._seconds = Histogram(
            "zigflow_agent_activity_duration_seconds",
            "Time from a call's start until its workflow resumed.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        for outcome in self._ended:
            self._seconds.labels(outcome)

    @override
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,
    ) -> type[WorkflowInboundInterceptor]:
        input.unsafe_extern_functions.update({_STARTED: self._started.inc, _ENDED: self._end})
        return _Inbound

    def _end(self, outcome: str, seconds: float) -> None:
        self._ended[outcome].inc()
        self._seconds.labels(outcome).observe(seconds)


class _Inbound(WorkflowInboundInterceptor):
    @override
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    @override
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        handle = super().start_activity(input)
        if input.activity == CALL_AGENT:
            _count(_STARTED)
            handle.add_done_callback(_when_ended(workflow.now()))
        return handle


def _when_ended(started: datetime) -> Callable[[Any], None]:
    def ended(call: workflow.ActivityHandle[Any]) -> None:
        seconds = (workflow.now() - started).total_seconds()
        _count(_ENDED, _outcome(call), seconds)

    return ended


def _count(what: str, *arguments: Any) -> None:
    # Also set while a run leaves the cache, when everything in it is cancelled.
    if not workflow.unsafe.is_replaying():
        workflow.extern_functions()[what](*arguments)


def _outcome(call: workflow.ActivityHandle[Any]) -> str:
    error = None if call.cancelled() else call.exception()
    if call.cancelled() or (error is not None and is_cancelled_exception(error)):
        return CANCELLED
    if error is None:
        return COMPLETED
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError) and cause.type in _OUTCOMES:
        return _OUTCOMES[cause.type]
    if isinstance(cause, TimeoutError):
        return TIMEOUT
    # A back-off that does not fit before the deadline ends with the last attempt's error.
    timed_out = isinstance(error, ActivityError) and error.retry_state == RetryState.TIMEOUT
    return TIMEOUT if timed_out else FAILED


_OUTCOMES: dict[str | None, str] = {
    ErrorType.FAILED.value: FAILED,
    ErrorType.TIMEOUT.value: TIMEOUT,
    ErrorType.CANCELLED.value: CANCELLED,
}
