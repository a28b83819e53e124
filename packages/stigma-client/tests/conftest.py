"""Fixtures of the client: a real gRPC server in the API's place, and a Temporal server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

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
from stigma.contracts.executions import Execution, Kind
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

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True)
class Refusal:
    """Makes the stand-in answer with an error."""

    code: grpc.StatusCode
    message: str = "refused"
    details: Sequence[Message] = ()


@dataclass
class StandIn:
    """Answers as the API would, or as a test wants it to: `answers` first, then `starting`."""

    kind: ClassVar[Kind]
    starts: list[Any] = field(default_factory=list)
    cancels: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    answers: list[Execution | Refusal] = field(default_factory=list)
    cancel_answers: list[Refusal] = field(default_factory=list)
    starting: Callable[[Any], Awaitable[Execution | None]] | None = None
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

    async def _start(self, request: Any, context: Context) -> Any:
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
        return answer or self._execution(request)

    async def _cancel(self, request: Any, context: Context) -> Any:
        self.cancels.append(request)
        if self.cancel_answers:
            await _abort(context, self.cancel_answers.pop(0))
        self.cancelled.set()
        return self._execution(request)

    def _execution(self, request: Any) -> Execution:
        execution_type = AgentExecution if self.kind is Kind.AGENT else WorkflowExecution
        return execution_type(id=ids.execution_id("test", "", request.request_id, self.kind))


class StandInApi(StandIn, AgentExecutionServiceServicer):
    """Serves agents."""

    kind = Kind.AGENT

    async def StartAgent(self, request: StartAgentRequest, context: Context) -> Any:
        return await self._start(request, context)

    async def CancelAgentExecution(
        self, request: CancelAgentExecutionRequest, context: Context
    ) -> Any:
        return await self._cancel(request, context)


class StandInWorkflows(StandIn, WorkflowExecutionServiceServicer):
    """Serves workflows."""

    kind = Kind.WORKFLOW

    async def StartWorkflow(self, request: StartWorkflowRequest, context: Context) -> Any:
        return await self._start(request, context)

    async def CancelWorkflowExecution(
        self, request: CancelWorkflowExecutionRequest, context: Context
    ) -> Any:
        return await self._cancel(request, context)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> None:
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    assert status.code != code_pb2.OK
    for detail in refusal.details:
        status.details.add().Pack(detail)
    await context.abort_with_status(rpc_status.to_status(status))


@pytest.fixture
async def api() -> AsyncIterator[StandInApi]:
    stand_in = StandInApi()  # type: ignore[abstract] # what no caller uses stays unimplemented
    async with _served(stand_in, add_AgentExecutionServiceServicer_to_server):
        yield stand_in


@pytest.fixture
async def workflows() -> AsyncIterator[StandInWorkflows]:
    stand_in = StandInWorkflows()  # type: ignore[abstract] # what no caller uses stays away
    async with _served(stand_in, add_WorkflowExecutionServiceServicer_to_server):
        yield stand_in


@asynccontextmanager
async def _served(
    stand_in: StandIn, add: Callable[[Any, grpc.aio.Server], None]
) -> AsyncIterator[None]:
    server = grpc.aio.server()
    add(stand_in, server)
    stand_in.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield
    await server.stop(grace=None)


@pytest.fixture(scope="session")
async def client(temporal_server: Any) -> Client:
    return await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
