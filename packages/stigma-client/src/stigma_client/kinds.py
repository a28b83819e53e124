"""The messages and RPCs of the two kinds of executions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.contracts import limits
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    StartWorkflowRequest,
)
from stigma_client.connection import ApiConnection

R = TypeVar("R", StartAgentRequest, StartWorkflowRequest)
E = TypeVar("E", AgentExecution, WorkflowExecution)


@dataclass(frozen=True)
class ExecutionKind(Generic[R, E]):
    """One kind of execution, as the API starts and cancels it.

    Attributes:
        kind: which of the two.
        start_request: the message that starts one.
        cancel_request: the message that cancels one.
        execution: the message that a call is completed with.
        start_rpc: the RPC that starts one, over a connection.
        cancel_rpc: the RPC that cancels one, over a connection.
        definition_id: name of the field of `start_request` that names what is run.
        text: its field of text with a limit of its own, read from a request.
    """

    kind: Kind
    start_request: type[R]
    cancel_request: type[CancelAgentExecutionRequest | CancelWorkflowExecutionRequest]
    execution: type[E]
    start_rpc: Callable[[ApiConnection], Callable[..., Awaitable[E]]]
    cancel_rpc: Callable[[ApiConnection], Callable[..., Awaitable[Any]]]
    definition_id: str
    text: Text[R]


@dataclass(frozen=True)
class Text(Generic[R]):
    """A text of a request, and the most bytes that it may have."""

    name: str
    read: Callable[[R], str]
    max_bytes: int


AGENT: ExecutionKind[StartAgentRequest, AgentExecution] = ExecutionKind(
    kind=Kind.AGENT,
    start_request=StartAgentRequest,
    cancel_request=CancelAgentExecutionRequest,
    execution=AgentExecution,
    start_rpc=lambda connection: connection.executions.StartAgent,
    cancel_rpc=lambda connection: connection.executions.CancelAgentExecution,
    definition_id="agent_id",
    text=Text("message", lambda request: request.message, limits.MAX_MESSAGE_BYTES),
)

WORKFLOW: ExecutionKind[StartWorkflowRequest, WorkflowExecution] = ExecutionKind(
    kind=Kind.WORKFLOW,
    start_request=StartWorkflowRequest,
    cancel_request=CancelWorkflowExecutionRequest,
    execution=WorkflowExecution,
    start_rpc=lambda connection: connection.workflow_executions.StartWorkflow,
    cancel_rpc=lambda connection: connection.workflow_executions.CancelWorkflowExecution,
    definition_id="workflow_id",
    text=Text("document", lambda request: request.spec.document, limits.MAX_DOCUMENT_BYTES),
)
