"""Timelines and stuck executions for those who may read executions."""

from __future__ import annotations

from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
)
from stigma_api.access.principals import Action, Principal
from stigma_api.diagnosis.stuck.executions import StuckExecutions
from stigma_api.diagnosis.timeline.timelines import Timelines


class DiagnosisService:
    """Diagnoses executions of either kind."""

    def __init__(self, timelines: Timelines, stuck: StuckExecutions) -> None:
        self._timelines = timelines
        self._stuck = stuck

    async def timeline(self, principal: Principal, execution_id: str) -> ExecutionTimeline:
        """Return one execution's timeline.

        Raises:
            ApiError: NOT_FOUND; PERMISSION_DENIED; UNAVAILABLE, Temporal does not answer.
        """
        principal.require(Action.EXECUTIONS_READ)
        return await self._timelines.get_visible(principal, execution_id)

    async def stuck(
        self, principal: Principal, request: ListStuckExecutionsRequest
    ) -> ListStuckExecutionsResponse:
        """List open executions that make no progress, oldest first.

        Raises:
            ApiError: INVALID_ARGUMENT; PERMISSION_DENIED; UNAVAILABLE, Temporal does not answer.
        """
        principal.require(Action.EXECUTIONS_READ)
        return await self._stuck.list(principal, request)
