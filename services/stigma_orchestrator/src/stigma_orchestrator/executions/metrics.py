"""Prometheus metrics of executions, counted where their workflow ends.

Not again in a replay, when a run leaves the cache or when it continues as new. A workflow that
Temporal ends itself (terminated, its run timeout) reaches no code and is not counted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from typing_extensions import override

from stigma.contracts.errors import ErrorType
from stigma.contracts.executions import Kind

PHASES = ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED")

# From a scripted agent to one that takes the default of a day.
_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400)
_KINDS = {kind.workflow_type: kind for kind in Kind}
_PHASES: dict[str | None, str] = {
    ErrorType.TIMEOUT.value: "TIMED_OUT",
    ErrorType.WORKFLOW_TIMEOUT.value: "TIMED_OUT",
    ErrorType.CANCELLED.value: "CANCELLED",
    ErrorType.WORKFLOW_CANCELLED.value: "CANCELLED",
}

# The workflow's side reaches the registry, which is outside the sandbox, by this name.
_ENDED = "stigma_execution_ended"


class ExecutionMetrics(Interceptor):
    """Counts and times executions; an interceptor of their worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "stigma_executions_ended_total",
            "Executions that ended, by the phase they ended in.",
            ["kind", "phase"],
            registry=registry,
        )
        self._seconds = Histogram(
            "stigma_execution_duration_seconds",
            "Time from an execution's start to its end, delivery included.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        # From the start on, so that the first one of a kind is an increase too.
        for kind in Kind:
            self._seconds.labels(kind.value)
            for phase in PHASES:
                self._ended.labels(kind.value, phase)

    @override
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,
    ) -> type[WorkflowInboundInterceptor]:
        input.unsafe_extern_functions[_ENDED] = self._observe_end
        return _Inbound

    def _observe_end(self, kind: Kind, phase: str, seconds: float) -> None:
        self._ended.labels(kind.value, phase).inc()
        self._seconds.labels(kind.value).observe(seconds)


class _Inbound(WorkflowInboundInterceptor):
    @override
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        try:
            result = await super().execute_workflow(input)
        except (FailureError, asyncio.CancelledError) as error:
            _count_end(_phase_of(error), input.args)
            raise
        _count_end("COMPLETED", input.args)
        return result


def _count_end(phase: str, arguments: Sequence[Any]) -> None:
    info = workflow.info()
    # Also true of a run that leaves the cache, when everything in it is cancelled.
    if workflow.unsafe.is_replaying() or info.workflow_type not in _KINDS:
        return
    seconds = (workflow.now() - _first_run_start(arguments)).total_seconds()
    workflow.extern_functions()[_ENDED](_KINDS[info.workflow_type], phase, seconds)


def _first_run_start(arguments: Sequence[Any]) -> datetime:
    """Return when the execution's first run started."""
    carried = getattr(arguments[0], "carried", None) if arguments else None
    if carried is not None and carried.HasField("start_time"):
        first: datetime = carried.start_time.ToDatetime(UTC)
        return first
    return workflow.info().workflow_start_time


def _phase_of(error: BaseException) -> str:
    if isinstance(error, ApplicationError):
        return _PHASES.get(error.type, "FAILED")
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "FAILED"
