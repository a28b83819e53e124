"""`AgentExecutionService` and `WorkflowExecutionService`: one code, under each stub's names."""

# ruff: noqa: ARG002 - the stubs prescribe the signatures
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, InputResolution
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    GetAgentExecutionRequest,
    ListAgentExecutionsResponse,
    ListPendingInputsRequest,
    ListPendingInputsResponse,
    SendAgentMessageRequest,
    SendAgentMessageResponse,
    SubmitAgentInputRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceServicer
from stigma.agent.v1.agent_pb2 import Agent
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    GetWorkflowExecutionRequest,
    ListWorkflowExecutionsResponse,
    WatchWorkflowExecutionRequest,
    WatchWorkflowExecutionResponse,
)
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceServicer
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api.executions.inputs import ExecutionInputs
from stigma_api.executions.service import ExecutionService
from stigma_api.executions.watch_events import T
from stigma_api.grpc_api.interceptor import Context, caller
from stigma_api.kinds import CancelRequest, D, E, ListRequest, StartRequest


class _ExecutionServicer(Generic[D, E, T]):
    """Serves the executions of one kind."""

    list_response: Any

    def __init__(self, service: ExecutionService[D, E, T]) -> None:
        self._service: ExecutionService[D, E, T] = service

    async def start(self, request: StartRequest, context: Context) -> E:
        return await self._service.start(caller(), request)

    async def get(
        self, request: GetAgentExecutionRequest | GetWorkflowExecutionRequest, context: Context
    ) -> E:
        # Both kinds' views have the same numbers.
        full = request.view == AGENT_EXECUTION_VIEW_FULL
        return await self._service.get(
            caller(), request.id, full=full, pending_steps=request.pending_steps
        )

    async def list(self, request: ListRequest, context: Context) -> Any:
        page, token = await self._service.page(
            caller(), request.filter, size=request.page_size, token=request.page_token
        )
        return self.list_response(executions=page, next_page_token=token)

    async def watch(
        self, request: WatchAgentExecutionRequest | WatchWorkflowExecutionRequest, context: Context
    ) -> AsyncIterator[T]:
        async for event in self._service.watch(caller(), request.id, request.cursor):
            yield event

    async def cancel(self, request: CancelRequest, context: Context) -> E:
        return await self._service.cancel(caller(), request)


class AgentExecutionServicer(
    _ExecutionServicer[Agent, AgentExecution, WatchAgentExecutionResponse],
    AgentExecutionServiceServicer,
):
    """Serves `AgentExecutionService`."""

    list_response = ListAgentExecutionsResponse
    StartAgent = _ExecutionServicer.start
    GetAgentExecution = _ExecutionServicer.get
    ListAgentExecutions = _ExecutionServicer.list
    WatchAgentExecution = _ExecutionServicer.watch
    CancelAgentExecution = _ExecutionServicer.cancel

    def __init__(
        self,
        service: ExecutionService[Agent, AgentExecution, WatchAgentExecutionResponse],
        inputs: ExecutionInputs,
    ) -> None:
        super().__init__(service)
        self._inputs = inputs

    async def submit_input(
        self, request: SubmitAgentInputRequest, context: Context
    ) -> InputResolution:
        """Answer a pending input."""
        return await self._inputs.submit(caller(), request)

    async def send_message(
        self, request: SendAgentMessageRequest, context: Context
    ) -> SendAgentMessageResponse:
        """Send a message to a running execution."""
        return await self._inputs.send(caller(), request)

    async def list_inputs(
        self, request: ListPendingInputsRequest, context: Context
    ) -> ListPendingInputsResponse:
        """List what executions wait for."""
        found, token = await self._inputs.page(caller(), request)
        return ListPendingInputsResponse(inputs=found, next_page_token=token)

    SubmitAgentInput = submit_input
    SendAgentMessage = send_message
    ListPendingInputs = list_inputs


class WorkflowExecutionServicer(
    _ExecutionServicer[Workflow, WorkflowExecution, WatchWorkflowExecutionResponse],
    WorkflowExecutionServiceServicer,
):
    """Serves `WorkflowExecutionService`."""

    list_response = ListWorkflowExecutionsResponse
    StartWorkflow = _ExecutionServicer.start
    GetWorkflowExecution = _ExecutionServicer.get
    ListWorkflowExecutions = _ExecutionServicer.list
    WatchWorkflowExecution = _ExecutionServicer.watch
    CancelWorkflowExecution = _ExecutionServicer.cancel
