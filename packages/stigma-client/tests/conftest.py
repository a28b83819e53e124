"""What the client's tests share: a real gRPC server in the API's place, and a Temporal server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    AgentExecutionServiceServicer,
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.contracts import ids
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    StartWorkflowRequest,
)
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
    WorkflowExecutionServiceServicer,
    add_WorkflowExecutionServiceServicer_to_server,
)

# The sandbox imports a workflow's module by its name, which must be one: no hyphens.
sys.path.insert(0, str(Path(__file__).parent))

Starting = Callable[[StartAgentRequest], Awaitable[AgentExecution | None]]


@dataclass(frozen=True)
class Refusal:
    """Makes the stand-in answer with an error."""

    code: grpc.StatusCode
    message: str = "refused"
    details: Sequence[Message] = ()


@dataclass
class StandInApi(AgentExecutionServiceServicer):
    """Answers as the API would, or as a test wants it to: `answers` first, then `starting`."""

    starts: list[StartAgentRequest] = field(default_factory=list)
    cancels: list[CancelAgentExecutionRequest] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    answers: list[AgentExecution | Refusal] = field(default_factory=list)
    cancel_answers: list[Refusal] = field(default_factory=list)
    starting: Starting | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    def refuse(
        self, code: grpc.StatusCode, message: str = "refused", details: Sequence[Message] = ()
    ) -> None:
        """Answer one more start with an error."""
        self.answers.append(Refusal(code, message, details))

    def refuse_cancel(self, code: grpc.StatusCode) -> None:
        """Answer one more cancellation with an error."""
        self.cancel_answers.append(Refusal(code))

    async def StartAgent(
        self, request: StartAgentRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AgentExecution:
        self.starts.append(request)
        self.metadata.append(
            {key: str(value) for key, value in context.invocation_metadata() or ()}
        )
        self.started.set()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Refusal):
            await _abort(context, answer)
        if self.starting is not None:
            answer = await self.starting(request)
        if isinstance(answer, AgentExecution):
            return answer
        return AgentExecution(id=ids.execution_id("test", "", request.request_id))

    async def CancelAgentExecution(
        self, request: CancelAgentExecutionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AgentExecution:
        self.cancels.append(request)
        if self.cancel_answers:
            await _abort(context, self.cancel_answers.pop(0))
        self.cancelled.set()
        return AgentExecution(id=ids.execution_id("test", "", request.request_id))


@dataclass
class StandInWorkflows(WorkflowExecutionServiceServicer):
    """The API's other service; refuses or answers with what is in `answers` first."""

    starts: list[StartWorkflowRequest] = field(default_factory=list)
    cancels: list[CancelWorkflowExecutionRequest] = field(default_factory=list)
    answers: list[WorkflowExecution | Refusal] = field(default_factory=list)
    cancel_answers: list[Refusal] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    def refuse(self, code: grpc.StatusCode, message: str = "refused") -> None:
        """Answer one more start with an error."""
        self.answers.append(Refusal(code, message))

    def refuse_cancel(self, code: grpc.StatusCode) -> None:
        """Answer one more cancellation with an error."""
        self.cancel_answers.append(Refusal(code))

    async def StartWorkflow(
        self, request: StartWorkflowRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> WorkflowExecution:
        self.starts.append(request)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Refusal):
            await _abort(context, answer)
        self.started.set()
        if isinstance(answer, WorkflowExecution):
            return answer
        return WorkflowExecution(
            id=ids.execution_id("test", "", request.request_id, kind=Kind.WORKFLOW)
        )

    async def CancelWorkflowExecution(
        self, request: CancelWorkflowExecutionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> WorkflowExecution:
        self.cancels.append(request)
        if self.cancel_answers:
            await _abort(context, self.cancel_answers.pop(0))
        return WorkflowExecution()


async def _abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> None:
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    assert status.code != code_pb2.OK
    for detail in refusal.details:
        status.details.add().Pack(detail)
    await context.abort_with_status(rpc_status.to_status(status))


@pytest.fixture
async def api() -> AsyncIterator[StandInApi]:
    stand_in = StandInApi()  # type: ignore[abstract] # what no caller uses stays unimplemented
    server = grpc.aio.server()
    add_AgentExecutionServiceServicer_to_server(stand_in, server)
    stand_in.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield stand_in
    await server.stop(grace=None)


@pytest.fixture
async def workflows() -> AsyncIterator[StandInWorkflows]:
    stand_in = StandInWorkflows()  # type: ignore[abstract] # what no caller uses stays away
    server = grpc.aio.server()
    add_WorkflowExecutionServiceServicer_to_server(stand_in, server)
    stand_in.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield stand_in
    await server.stop(grace=None)


@pytest.fixture(scope="session")
async def client(temporal_server: Any) -> Client:
    return await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
