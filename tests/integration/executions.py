"""Executions of one kind, as tests start, follow and end them; and callers that wait for them."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar

import grpc.aio
import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError, FailureError

from stigma.agent.v1 import agent_execution_service_pb2_grpc as agents_grpc
from stigma.agent.v1.agent_execution_pb2 import CALLBACK_STATE_WAITING, AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    StartAgentRequest,
)
from stigma.contracts import engine, errors, ids
from stigma.contracts.executions import Execution, Kind
from stigma.contracts.phases import has_ended
from stigma.workflow.v1 import workflow_execution_service_pb2_grpc as workflows_grpc
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    GetWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    StartWorkflowRequest,
)
from tests.integration.callers import Job
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

PRINCIPAL = "tests"
WITHIN = timedelta(seconds=60)
REASON = "a test wants it"

E = TypeVar("E", AgentExecution, WorkflowExecution)


@dataclass(frozen=True)
class Called:
    """A caller under way."""

    workflow: WorkflowHandle[Any, Any]
    job: Job
    execution_id: str

    async def result(self) -> Any:
        """Return the caller's result; raises what it failed with."""
        return await self.workflow.result()


class Executions(ABC, Generic[E]):
    """One installation's executions of one kind, by the API, and workflows that call for them."""

    kind: ClassVar[Kind]
    delivery: ClassVar[str]
    """The activity that delivers what its local activity did not."""
    from_details: ClassVar[Callable[..., Execution | None]]
    """Reads an execution out of a failure's detail."""
    stack: Stack
    client: Client
    queue: str
    """Of the callers' worker."""

    @abstractmethod
    def fields(self, name: str, message: str) -> dict[str, Any]:
        """Return what a start has for an agent or workflow, and its message."""

    @abstractmethod
    async def start(self, **fields: Any) -> E:
        """Call StartAgent, StartWorkflow."""

    @abstractmethod
    async def execution(self, execution_id: str) -> E:
        """Call GetAgentExecution, GetWorkflowExecution."""

    @abstractmethod
    async def cancel(self, execution_id: str) -> None:
        """Call CancelAgentExecution, CancelWorkflowExecution."""

    @abstractmethod
    async def matching(self, condition: str) -> list[E]:
        """Call ListAgentExecutions, ListWorkflowExecutions. Visibility is late."""

    async def ask(self, name: str, message: str, **fields: Any) -> E:
        """Start an agent or workflow with a message."""
        return await self.start(**self.fields(name, message) | fields)

    async def call(
        self, caller: Any, job: Job, *, names_request: bool = True, **options: Any
    ) -> Called:
        """Start a caller's workflow. It gets a request id, so that its execution is known."""
        job.kind = self.kind
        if names_request:
            job.request_id = job.request_id or uuid.uuid4().hex
        options.setdefault("id", f"caller-{uuid.uuid4().hex}")
        handle = await self.client.start_workflow(caller.run, job, task_queue=self.queue, **options)
        return Called(handle, job, self.execution_id(job.request_id))

    def execution_id(self, request_id: str, principal: str = PRINCIPAL) -> str:
        """Return the execution that a request id stands for."""
        return ids.execution_id(principal, self.stack.namespace, request_id, self.kind)

    def error(self, outcome: str) -> str:
        """Return the type of the error that callers get."""
        return f"{self.kind.upper()}_EXECUTION_{outcome}"

    async def exists(self, execution_id: str) -> bool:
        """Whether there is, or was, such an execution. Not visibility: this is never late."""
        try:
            await self.execution(execution_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def ended(self, execution_id: str, *, within: timedelta = WITHIN) -> E:
        """Return the execution as soon as it has ended."""

        async def terminal() -> E | None:
            execution = await self.execution(execution_id)
            return execution if has_ended(execution) else None

        return await eventually(terminal, within=within, what=f"the end of {execution_id}")

    async def told(self, execution_id: str) -> E:
        """Return the execution once it has ended and nobody is still to be told."""

        async def terminal() -> E | None:
            execution = await self.execution(execution_id)
            waits = execution.status.callback.state == CALLBACK_STATE_WAITING
            return execution if has_ended(execution) and not waits else None

        return await eventually(terminal, within=WITHIN, what=f"the delivery of {execution_id}")

    async def until_bound(self, execution_id: str, bindings: int) -> None:
        """Return once so many of the caller's attempts are bound."""

        async def bound() -> bool:
            return (await self.execution(execution_id)).status.callback.bindings == bindings

        await eventually(bound, what=f"{bindings} bindings of {execution_id}")

    async def of_group(self, group: str, count: int, condition: str = "") -> list[E]:
        """Return the executions with a label, once there are so many."""
        asked = f'labels.group = "{group}"{" AND " if condition else ""}{condition}'

        async def found() -> list[E]:
            executions = await self.matching(asked)
            return executions if len(executions) >= count else []

        return await eventually(found, what=f"{count} executions of group {group}")

    async def history(self, workflow_id: str, run_id: str | None = None) -> list[HistoryEvent]:
        """Return a run's events; of the current run by default."""
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        return list((await handle.fetch_history()).events)


AnyExecutions = Executions[Any]


class AgentExecutions(Executions[AgentExecution]):
    """Executions of agents."""

    kind = Kind.AGENT
    delivery = "deliver_callback"
    from_details = staticmethod(errors.execution_from_details)
    stub: agents_grpc.AgentExecutionServiceAsyncStub

    def fields(self, name: str, message: str) -> dict[str, Any]:
        return {"agent_id": name, "message": message}

    async def start(self, **fields: Any) -> AgentExecution:
        return await self.stub.StartAgent(StartAgentRequest(**fields), timeout=15)

    async def execution(self, execution_id: str) -> AgentExecution:
        request = GetAgentExecutionRequest(id=execution_id)
        return await self.stub.GetAgentExecution(request, timeout=15)

    async def cancel(self, execution_id: str) -> None:
        request = CancelAgentExecutionRequest(id=execution_id, reason=REASON)
        await self.stub.CancelAgentExecution(request, timeout=15)

    async def matching(self, condition: str) -> list[AgentExecution]:
        request = ListAgentExecutionsRequest(filter=condition, page_size=1000)
        return [*(await self.stub.ListAgentExecutions(request, timeout=15)).executions]


class WorkflowExecutions(Executions[WorkflowExecution]):
    """Executions of workflows."""

    kind = Kind.WORKFLOW
    delivery = "deliver_workflow_callback"
    from_details = staticmethod(errors.workflow_execution_from_details)

    def __init__(
        self,
        stack: Stack,
        client: Client,
        queue: str,
        stub: workflows_grpc.WorkflowExecutionServiceAsyncStub,
    ) -> None:
        self.stack = stack
        self.client = client
        self.queue = queue
        self.stub = stub

    def fields(self, name: str, message: str) -> dict[str, Any]:
        return {"workflow_id": name, "input_json": json.dumps({"said": message})}

    async def start(self, **fields: Any) -> WorkflowExecution:
        return await self.stub.StartWorkflow(StartWorkflowRequest(**fields), timeout=15)

    async def execution(self, execution_id: str) -> WorkflowExecution:
        request = GetWorkflowExecutionRequest(id=execution_id)
        return await self.stub.GetWorkflowExecution(request, timeout=15)

    async def cancel(self, execution_id: str) -> None:
        request = CancelWorkflowExecutionRequest(id=execution_id, reason=REASON)
        await self.stub.CancelWorkflowExecution(request, timeout=15)

    async def matching(self, condition: str) -> list[WorkflowExecution]:
        request = ListWorkflowExecutionsRequest(filter=condition, page_size=1000)
        return [*(await self.stub.ListWorkflowExecutions(request, timeout=15)).executions]

    def run_of(self, execution_id: str) -> WorkflowHandle[Any, Any]:
        """Return the engine's run of an execution."""
        return self.client.get_workflow_handle(engine.run_id(execution_id))

    async def assert_run_cancelled(self, execution_id: str) -> None:
        """Wait for the engine's run to close, and assert that it was cancelled."""
        run = self.run_of(execution_id)
        with pytest.raises(WorkflowFailureError):
            await run.result()
        assert (await run.describe()).status == WorkflowExecutionStatus.CANCELED


async def failure_of(called: Called) -> ApplicationError:
    """Wait for a caller to fail; return what the execution's failure came to in its workflow."""
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    cause: BaseException | None = caught.value.cause
    while isinstance(cause, FailureError) and not isinstance(cause, ApplicationError):
        cause = cause.cause
    assert isinstance(cause, ApplicationError), caught.value.cause
    return cause


def details_of(failure: ApplicationError) -> dict[str, Any]:
    """Return the failure's one detail."""
    [details] = failure.details
    assert isinstance(details, dict)
    return details
