"""`DiagnosisService` over gRPC."""

from __future__ import annotations

from typing_extensions import override

from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    GetExecutionTimelineRequest,
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
)
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import DiagnosisServiceServicer
from stigma_api.diagnosis.service import DiagnosisService
from stigma_api.grpc_api.interceptor import Context, caller


class DiagnosisServicer(DiagnosisServiceServicer):
    """Serves `DiagnosisService`."""

    def __init__(self, service: DiagnosisService) -> None:
        self._service = service

    @override
    async def GetExecutionTimeline(
        self, request: GetExecutionTimelineRequest, context: Context
    ) -> ExecutionTimeline:
        return await self._service.timeline(caller(), request.id)

    @override
    async def ListStuckExecutions(
        self, request: ListStuckExecutionsRequest, context: Context
    ) -> ListStuckExecutionsResponse:
        return await self._service.stuck(caller(), request)
