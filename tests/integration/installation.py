"""Everything a test of the contract touches: services, a model under control, callers."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import Worker

from stigma.agent.v1 import agent_execution_service_pb2_grpc, agent_service_pb2_grpc
from stigma.agent.v1.agent_execution_pb2 import (
    CALLBACK_STATE_WAITING,
    AgentExecution,
    AgentExecutionPhase,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_INVALID_REQUEST,
    Agent,
    AgentLimits,
    AgentSpec,
    Script,
    ScriptFailure,
    ScriptStep,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.contracts import ids
from stigma.contracts.phases import has_ended
from stigma_client import StigmaPlugin
from tests.integration.callers import (
    ForeignActivities,
    ForeignCaller,
    Job,
    Parked,
    PythonCaller,
    PythonCrowd,
    TakenTokens,
)
from tests.integration.model_gate import KEY as GATE_KEY
from tests.integration.model_gate import ModelGate
from tests.stack.channels import open_channel
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

StartStack = Callable[..., Awaitable[Stack]]

PRINCIPAL = "tests"
KEY = "tests-key-0815-very-secret-bearer"
NARROW_KEY = "narrow-key-0816-very-secret-bearer"
NARROW_PREFIX = "narrow-"


@dataclass(frozen=True)
class Called:
    """A caller under way."""

    workflow: WorkflowHandle[Any, Any]
    job: Job
    execution_id: str

    async def result(self) -> Any:
        """Return the caller's result; raises what it failed with."""
        return await self.workflow.result()


class Installation:
    """Four services with principals, agents for every purpose, and a worker full of callers.

    Agents: `echo` says its message; `held` asks the gate's model; `slow` takes a minute; `broken`
    is refused by its provider; `large` says its message three times; `growing` fills its history
    until it continues as new, and then ends.
    """

    def __init__(self, stack: Stack, gate: ModelGate, directory: Path) -> None:
        self.stack = stack
        self.gate = gate
        self.directory = directory
        self.tokens = TakenTokens()
        self.queue = f"{stack.prefix}callers"
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Apply the agents, and start the callers' worker."""
        channel = open_channel(self.stack.api_address, api_key=KEY)
        self._open.push_async_callback(channel.close)
        self.executions = agent_execution_service_pb2_grpc.AgentExecutionServiceStub(channel)
        self.agents = agent_service_pb2_grpc.AgentServiceStub(channel)
        for name, spec in AGENTS.items():
            await self.agents.ApplyAgent(ApplyAgentRequest(agent=Agent(name=name, spec=spec)))
        # Not Stigma's data converter: callers have their own.
        self.client = await Client.connect(
            self.stack.temporal_address, namespace=self.stack.namespace
        )
        foreign = ForeignActivities(self.executions)
        worker = Worker(
            self.client,
            task_queue=self.queue,
            workflows=[PythonCaller, PythonCrowd, ForeignCaller, Parked],
            activities=[foreign.ask_agent, foreign.park],
            plugins=[StigmaPlugin(self.stack.api_address, api_key=KEY)],
            interceptors=[self.tokens],
            max_concurrent_activities=50,
            graceful_shutdown_timeout=timedelta(seconds=5),
        )
        await self._open.enter_async_context(worker)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def call(
        self, caller: Any, job: Job, *, names_request: bool = True, **options: Any
    ) -> Called:
        """Start a caller's workflow. It gets a request id, so that its execution is known."""
        if names_request:
            job.request_id = job.request_id or uuid.uuid4().hex
        handle = await self.client.start_workflow(
            caller.run,
            job,
            id=options.pop("id", f"caller-{uuid.uuid4().hex}"),
            task_queue=self.queue,
            **options,
        )
        return Called(handle, job, self.execution_id(job.request_id))

    async def park(self, workflow_id: str = "") -> WorkflowHandle[Any, Any]:
        """Start a workflow whose activity waits for nobody."""
        return await self.client.start_workflow(
            Parked.run, id=workflow_id or f"parked-{uuid.uuid4().hex}", task_queue=self.queue
        )

    async def run_document(self, document: str, data: Any = None) -> WorkflowHandle[Any, Any]:
        """Start a workflow document on the engine."""
        return await self.client.start_workflow(
            "document",
            {"document": document, "input": data},
            id=f"document-{uuid.uuid4().hex}",
            task_queue=self.stack.queues.engine,
        )

    def execution_id(self, request_id: str) -> str:
        """The execution that this installation's callers start by a request id."""
        return ids.execution_id(PRINCIPAL, self.stack.namespace, request_id)

    async def start(self, **fields: Any) -> AgentExecution:
        """Call StartAgent."""
        return await self.executions.StartAgent(StartAgentRequest(**fields), timeout=15)

    async def execution(self, execution_id: str) -> AgentExecution:
        """Call GetAgentExecution."""
        return await self.executions.GetAgentExecution(
            GetAgentExecutionRequest(id=execution_id), timeout=15
        )

    async def cancel(self, execution_id: str) -> None:
        """Call CancelAgentExecution."""
        request = CancelAgentExecutionRequest(id=execution_id, reason="a test wants it")
        await self.executions.CancelAgentExecution(request, timeout=15)

    async def exists(self, execution_id: str) -> bool:
        """Whether there is, or was, such an execution. Not visibility: this is never late."""
        try:
            await self.execution(execution_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def ended(
        self, execution_id: str, *, within: timedelta = timedelta(seconds=20)
    ) -> AgentExecution:
        """Return the execution as soon as it has ended."""

        async def terminal() -> AgentExecution | None:
            execution = await self.execution(execution_id)
            return execution if has_ended(execution) else None

        return await eventually(terminal, within=within, what=f"the end of {execution_id}")

    async def told(self, execution_id: str) -> AgentExecution:
        """Return the execution once it has ended and nobody is still to be told."""

        async def terminal() -> AgentExecution | None:
            execution = await self.execution(execution_id)
            waits = execution.status.callback.state == CALLBACK_STATE_WAITING
            return execution if has_ended(execution) and not waits else None

        return await eventually(terminal, what=f"the delivery of {execution_id}")

    async def of_session(
        self, session: str, count: int, condition: str = ""
    ) -> list[AgentExecution]:
        """Return the executions of a session, once there are so many. Visibility is late."""
        asked = f'session = "{session}"{" AND " if condition else ""}{condition}'

        async def found() -> list[AgentExecution]:
            reply = await self.executions.ListAgentExecutions(
                ListAgentExecutionsRequest(filter=asked, page_size=1000)
            )
            executions = list(reply.executions)
            return executions if len(executions) >= count else []

        return await eventually(found, what=f"{count} executions of session {session}")

    async def history(self, workflow_id: str, run_id: str | None = None) -> list[HistoryEvent]:
        """Return a run's events; of the current run by default."""
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        return list((await handle.fetch_history()).events)


def environment(gate: ModelGate, directory: Path) -> Mapping[str, Mapping[str, str]]:
    """Write the operator's files, and return the variables that name them."""
    providers = directory / "providers.yaml"
    providers.write_text(gate.provider)
    principals = directory / "principals.yaml"
    everything = ["agents.read", "agents.apply", "agents.delete", "agents.inline", "admin"]
    everything += [f"executions.{action}" for action in ("start", "read", "cancel")]
    listed = [
        {"name": PRINCIPAL, "key_sha256": [_sha256(KEY)], "actions": everything},
        {
            "name": "narrow",
            "key_sha256": [_sha256(NARROW_KEY)],
            "workflow_id_prefixes": [NARROW_PREFIX],
        },
    ]
    principals.write_text(json.dumps({"principals": listed}))
    return {
        "ai_worker": {"STIGMA_PROVIDERS_FILE": str(providers), "GATE_KEY": GATE_KEY},
        "stigma_api": {"STIGMA_PRINCIPALS_FILE": str(principals)},
        "zigflow_worker": {"STIGMA_API_KEY": KEY},
    }


async def failure_of(called: Called) -> ApplicationError:
    """Wait for a caller to fail; what the agent's failure came to in its workflow."""
    with pytest.raises(WorkflowFailureError) as caught:
        await called.result()
    cause: BaseException | None = caught.value.cause
    while isinstance(cause, FailureError) and not isinstance(cause, ApplicationError):
        cause = cause.cause
    assert isinstance(cause, ApplicationError), caught.value.cause
    return cause


def phase(execution: AgentExecution) -> str:
    """The phase's name without its prefix."""
    name = AgentExecutionPhase.Name(execution.status.phase)
    return name.removeprefix("AGENT_EXECUTION_PHASE_")


def scheduled(events: list[HistoryEvent], activity_type: str) -> int:
    """How many activities of a type a run has scheduled, local ones not among them."""
    kind = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    return sum(
        event.activity_task_scheduled_event_attributes.activity_type.name == activity_type
        for event in events
        if event.event_type == kind
    )


def signalled(events: list[HistoryEvent], signal: str) -> list[Payload]:
    """The first argument of each such signal of a run."""
    kind = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    attributes = [
        event.workflow_execution_signaled_event_attributes
        for event in events
        if event.event_type == kind
    ]
    return [said.input.payloads[0] for said in attributes if said.signal_name == signal]


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


AGENTS = {
    "echo": AgentSpec(model="scripted:echo"),
    "held": AgentSpec(model="gate:held"),
    "slow": AgentSpec(
        model="scripted:slow", script=Script(steps=[ScriptStep(delay=Duration(seconds=60))])
    ),
    "broken": AgentSpec(
        model="scripted:broken",
        script=Script(
            steps=[
                ScriptStep(text="…", pause=True),
                ScriptStep(
                    failure=ScriptFailure(
                        reason=FAILURE_REASON_INVALID_REQUEST, message="no such parameter"
                    )
                ),
            ]
        ),
    ),
    "large": AgentSpec(
        model="scripted:large", script=Script(steps=[ScriptStep(text="{message}" * 3)])
    ),
    "growing": AgentSpec(
        model="scripted:growing",
        limits=AgentLimits(steps=20),
        script=Script(
            steps=[*[ScriptStep(text="{message}", pause=True)] * 10, ScriptStep(text="grown")]
        ),
    ),
}
