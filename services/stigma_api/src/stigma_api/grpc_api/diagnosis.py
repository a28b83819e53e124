"""`DiagnosisService`: what an operator asks first."""

from __future__ import annotations

from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    GetExecutionTimelineRequest,
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
)
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import DiagnosisServiceServicer
from stigma_api.access.principals import Action
from stigma_api.diagnosis.stuck.executions import StuckExecutions
from stigma_api.diagnosis.timeline.timelines import Timelines
from stigma_api.grpc_api.interceptor import Context, caller


class Diagnosis(DiagnosisServiceServicer):
    """Serves `DiagnosisService`; who calls was found out before."""

    def __init__(self, timelines: Timelines, stuck: StuckExecutions) -> None:
        self._timelines = timelines
        self._stuck = stuck

    async def GetExecutionTimeline(  # noqa: N802
        self, request: GetExecutionTimelineRequest, _context: Context
    ) -> ExecutionTimeline:
        """Return one execution's story."""
        principal = caller()
        principal.require(Action.EXECUTIONS_READ)
        return await self._timelines.visible(principal, request.id)

    async def ListStuckExecutions(  # noqa: N802
        self, request: ListStuckExecutionsRequest, _context: Context
    ) -> ListStuckExecutionsResponse:
        """List open executions that do not get on."""
        principal = caller()
        principal.require(Action.EXECUTIONS_READ)
        return await self._stuck.list(principal, request)
