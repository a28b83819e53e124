"""Calls that change what executions do, within the bounds of the console."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_service_pb2 import (
    CANCEL_MODE_AFTER_STEP,
    CANCEL_MODE_NOW,
    CancelAgentExecutionRequest,
)
from stigma.contracts.executions import Execution, Kind
from stigma.workflow.v1.workflow_execution_service_pb2 import CancelWorkflowExecutionRequest
from stigma_api.access.principals import Principal
from stigma_api.console.api import Api
from stigma_api.console.merged_pages import kind_of
from stigma_api.services import Services


class ExecutionChanges:
    """Cancels executions, and starts them once more."""

    def __init__(self, services: Services, api: Api) -> None:
        self._services = services
        self._api = api

    async def cancel(
        self, principal: Principal, execution_id: str, reason: str, *, after_step: bool
    ) -> None:
        """Ask an execution to stop."""
        request: CancelAgentExecutionRequest | CancelWorkflowExecutionRequest
        kind = kind_of(execution_id)
        if kind is Kind.AGENT:
            mode = CANCEL_MODE_AFTER_STEP if after_step else CANCEL_MODE_NOW
            request = CancelAgentExecutionRequest(id=execution_id, reason=reason, mode=mode)
        else:
            request = CancelWorkflowExecutionRequest(id=execution_id, reason=reason)
        await self._api.call(lambda: self._services.executions[kind].cancel(principal, request))

    async def repeat(
        self,
        principal: Principal,
        execution_id: str,
        *,
        request_id: str,
        newest_version: bool,
        message: str | None,
    ) -> Execution:
        """Start once more what an execution was started with, see `ExecutionService.repeat`."""
        service = self._services.executions[kind_of(execution_id)]
        return await self._api.call(
            lambda: service.repeat(
                principal,
                execution_id,
                request_id=request_id,
                newest_version=newest_version,
                message=message,
            )
        )
