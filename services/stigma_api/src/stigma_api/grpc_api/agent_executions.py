"""`AgentExecutionService`: starts agents and follows their executions."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    ListAgentExecutionsResponse,
    StartAgentRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceServicer
from stigma.agent.v1.agent_pb2 import Agent
from stigma_api.executions.service import Executions
from stigma_api.grpc_api.interceptor import Context


class AgentExecutions(AgentExecutionServiceServicer):
    """Serves `AgentExecutionService`."""

    def __init__(
        self, executions: Executions[Agent, AgentExecution, WatchAgentExecutionResponse]
    ) -> None:
        self._executions = executions

    async def StartAgent(self, request: StartAgentRequest, _context: Context) -> AgentExecution:  # noqa: N802
        """Start an agent, or return the execution that the same request has started before."""
        return await self._executions.start(request)

    async def GetAgentExecution(  # noqa: N802
        self, request: GetAgentExecutionRequest, _context: Context
    ) -> AgentExecution:
        """Return one execution."""
        return await self._executions.get(
            request.id, full=request.view == AGENT_EXECUTION_VIEW_FULL
        )

    async def ListAgentExecutions(  # noqa: N802
        self, request: ListAgentExecutionsRequest, _context: Context
    ) -> ListAgentExecutionsResponse:
        """Return a page of executions."""
        page, token = await self._executions.page(request)
        return ListAgentExecutionsResponse(executions=page, next_page_token=token)

    async def WatchAgentExecution(  # noqa: N802
        self, request: WatchAgentExecutionRequest, _context: Context
    ) -> AsyncIterator[WatchAgentExecutionResponse]:
        """Stream what happens to one execution."""
        async for event in self._executions.watch(request.id, request.cursor):
            yield event

    async def CancelAgentExecution(  # noqa: N802
        self, request: CancelAgentExecutionRequest, _context: Context
    ) -> AgentExecution:
        """Ask an execution to stop."""
        return await self._executions.cancel(request)
