"""Everything a test of the contract touches: services, a model under control, callers."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
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
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from stigma_client import StigmaPlugin
from tests.integration.activities import ForeignActivities, TakenTokens
from tests.integration.callers import ForeignCaller, Parked, PythonCaller, PythonCrowd
from tests.integration.executions import (
    PRINCIPAL,
    AgentExecutions,
    WorkflowExecutions,
)
from tests.integration.model_gate import KEY as GATE_KEY
from tests.integration.model_gate import ModelGate
from tests.stack.channels import open_channel
from tests.stack.plugin import StartStack
from tests.stack.stack import Stack

KEY = "tests-key-0815-very-secret-bearer"
NARROW_KEY = "narrow-key-0816-very-secret-bearer"
NARROW_PREFIX = "narrow-"


class Installation(AgentExecutions):
    """Four services with principals, agents for every purpose, and a worker full of callers.

    Agents: `echo` says its message; `held` asks the gate's model; `slow` takes a minute; `broken`
    is refused by its provider; `large` says its message three times; `growing` fills its history
    until it continues as new, and then ends.

    Its own executions are those of agents, beside them `workflows`, once `apply_workflows` is done:
    the first five names mean the same, where `held` asks the agent and `broken` raises an error;
    `disappointed` has the error of the agent `broken`.
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
        self.stub = AgentExecutionServiceStub(channel)
        self.agents = AgentServiceStub(channel)
        for name, spec in AGENTS.items():
            await self.agents.ApplyAgent(ApplyAgentRequest(agent=Agent(name=name, spec=spec)))
        # Not Stigma's data converter: callers have their own.
        self.client = await Client.connect(
            self.stack.temporal_address, namespace=self.stack.namespace
        )
        stub = WorkflowExecutionServiceStub(channel)
        self.workflows = WorkflowExecutions(self.stack, self.client, self.queue, stub)
        self._workflow_service = WorkflowServiceStub(channel)
        foreign = ForeignActivities(self, self.workflows)
        worker = Worker(
            self.client,
            task_queue=self.queue,
            workflows=[PythonCaller, PythonCrowd, ForeignCaller, Parked],
            activities=[foreign.ask, foreign.park],
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

    async def apply_workflows(self) -> WorkflowExecutions:
        """Apply the workflows, for which the engine must be there; return their executions."""
        for name, task in WORKFLOWS.items():
            applied = Workflow(name=name, spec=WorkflowSpec(document=document(name, task)))
            request = ApplyWorkflowRequest(workflow=applied)
            await self._workflow_service.ApplyWorkflow(request, timeout=15)
        return self.workflows

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


def document(name: str, task: str) -> str:
    """Return a document of one task."""
    return (
        f"document: {{dsl: '1.0.3', namespace: tests, name: {name}, version: '1.0.0'}}\n"
        f"do:\n  - {task}\n"
    )


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
WORKFLOWS = {
    "echo": 'say: {set: {said: "${ .said }"}}',
    "held": 'ask: {call: agent, with: {agent: held, message: "${ .said }"}, '
    'output: {as: "${ {said: .} }"}}',
    "slow": "nap: {wait: PT60S}",
    "broken": "break: {raise: {error: "
    "{type: https://example.com/broken, status: 500, title: Broken, detail: it is}}}",
    "disappointed": "ask: {call: agent, with: {agent: broken, message: hello}}",
    "large": 'repeat: {set: {said: "${ .said }", again: "${ .said }", more: "${ .said }"}}',
}


@asynccontextmanager
async def open_installation(new_stack: StartStack, directory: Path) -> AsyncIterator[Installation]:
    """An installation with a stack of its own."""
    async with ModelGate() as gate:
        stack = await new_stack(environment=environment(gate, directory))
        async with Installation(stack, gate, directory) as installation:
            yield installation
