"""Workflow interfaces. Implemented by `stigma_orchestrator`, used by `stigma_api`."""

from __future__ import annotations

from temporalio import workflow

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    CheckModelPriceRequest,
    CheckModelPriceResponse,
    ListMcpToolsRequest,
    ListMcpToolsResponse,
    WorkflowExecutionInput,
)
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution

BIND = "bind"


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow:
    """One agent execution. Its workflow id is the execution's id."""

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        """Run the agent, deliver its outcome, and return it.

        Fails with an `ErrorType` whose details hold the execution when it did not complete;
        closes cancelled when it was cancelled.
        """
        raise NotImplementedError

    @workflow.signal(name=BIND)
    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity."""
        raise NotImplementedError

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        """Return the execution as it stands, conversation included."""
        raise NotImplementedError


@workflow.defn(name="ListMcpToolsWorkflow")
class ListMcpToolsWorkflow:
    """One listing of MCP servers' tools, for the API: it has no worker of its own."""

    @workflow.run
    async def run(self, request: ListMcpToolsRequest) -> ListMcpToolsResponse:
        """List the tools; what cannot be listed is a problem of the response."""
        raise NotImplementedError


@workflow.defn(name="CheckModelPriceWorkflow")
class CheckModelPriceWorkflow:
    """One check of a model's price, for the API: only the AI worker knows it."""

    @workflow.run
    async def run(self, request: CheckModelPriceRequest) -> CheckModelPriceResponse:
        """Return whether the model's price is known."""
        raise NotImplementedError


@workflow.defn(name="WorkflowExecutionWorkflow")
class WorkflowExecutionWorkflow:
    """One workflow execution. Its workflow id is the execution's id."""

    @workflow.run
    async def run(self, request: WorkflowExecutionInput) -> WorkflowExecution:
        """Run the document in the engine, deliver its outcome, and return it.

        Fails with an `ErrorType` whose details hold the execution when it did not complete;
        closes cancelled when it was cancelled.
        """
        raise NotImplementedError

    @workflow.signal(name=BIND)
    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity."""
        raise NotImplementedError

    @workflow.query(name="execution")
    def execution(self, with_request: bool = True) -> WorkflowExecution:
        """Return the execution as it stands, its spec included if `with_request`."""
        raise NotImplementedError
