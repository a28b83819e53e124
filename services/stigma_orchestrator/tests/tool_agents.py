"""Agents with tools: the real orchestrator and AI worker in this process, and a worker of tools.

The tools' worker is a foreign one: the SDK's own data converter, and no package of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    Replayer,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from typing_extensions import override

from ai_worker.models.provider import ModelResult, ToolDefinition
from ai_worker.models.scripted import ScriptedProvider
from services.stigma_orchestrator.tests.orchestration import (
    closed_execution,
    phase_of,
    reason_of,
)
from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecution,
    AgentExecutionSpec,
    Message,
    ToolOutcome,
    ToolResult,
)
from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_NEVER,
    ActivityTool,
    AgentSpec,
    ApprovalPolicy,
    ApprovalRule,
    Script,
    ScriptStep,
    ScriptToolCall,
    Tool,
    ToolPolicy,
)
from stigma.contracts import errors
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, ModelCallRequest
from stigma.internal.v1.session_pb2 import SessionPlace
from stigma_orchestrator.agents.workflow import AgentWorkflow

HEADER: ContextVar[dict[str, Any]] = ContextVar("header")


class ReadHeaders(Interceptor):
    """Keeps the header of a call where what runs it finds it."""

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ReadActivityHeader(next)

    @override
    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return _ReadWorkflowHeader


class _ReadActivityHeader(ActivityInboundInterceptor):
    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        HEADER.set(json.loads(input.headers["stigma-call"].data))
        return await super().execute_activity(input)


class _ReadWorkflowHeader(WorkflowInboundInterceptor):
    @override
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        HEADER.set(json.loads(input.headers["stigma-call"].data))
        return await super().execute_workflow(input)


class Effects:
    """Activities of tools, and what reached them."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.headers: list[dict[str, Any]] = []
        self.began = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.order: list[str] = []
        """"+value" where a call begins, "-value" where it ends."""

    @activity.defn(name="act")
    async def act(self, arguments: dict[str, Any]) -> Any:
        """Do what the argument `how` says, and return the argument `value`."""
        self.calls.append(arguments)
        self.headers.append(HEADER.get())
        self.order.append(f"+{arguments.get('value')}")
        self.began.set()
        try:
            return await self._act(arguments)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.order.append(f"-{arguments.get('value')}")

    @activity.defn(name="nothing")
    async def nothing(self, arguments: dict[str, Any]) -> None:
        """Return nothing."""
        self.calls.append(arguments)

    async def _act(self, arguments: dict[str, Any]) -> Any:
        match arguments.get("how"):
            case "fail":
                raise ApplicationError("the disk is full", type="DiskFull", non_retryable=True)
            case "fail once" if activity.info().attempt == 1:
                raise ApplicationError("not now", type="Busy")
            case "stuck":
                await self.released.wait()
            case "wait":
                while not self.released.is_set():
                    activity.heartbeat()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await self.released.wait()
            case "large":
                return "x" * arguments["size"]
            case "bytes":
                return b"\x00\x01"
        return arguments.get("value")


@workflow.defn(name="book")
class Book:
    """A workflow as a tool."""

    @workflow.run
    async def run(self, arguments: dict[str, Any]) -> Any:
        match arguments.get("how"):
            case "fail":
                raise ApplicationError("no room is free", type="Full", non_retryable=True)
            case "wait":
                await workflow.wait_condition(lambda: False)
        return {"booked": arguments, "key": HEADER.get()["idempotency_key"]}


def tool(name: str = "act", *, queue: str = "", activity: str = "act", **fields: Any) -> Tool:
    """A tool that is an activity; seconds are given as numbers in `policy`."""
    policy = fields.pop("policy", {})
    return Tool(
        name=name,
        activity=ActivityTool(type=activity, task_queue=queue),
        policy=new_policy(**policy),
        **fields,
    )


def new_policy(**fields: Any) -> ToolPolicy:
    """A policy, with seconds as numbers."""
    policy = ToolPolicy()
    for name, value in fields.items():
        if isinstance(value, int | float) and name.endswith("timeout"):
            getattr(policy, name).FromTimedelta(timedelta(seconds=value))
        else:
            setattr(policy, name, value)
    return policy


def call(
    tool_name: str = "act", arguments: Any = None, call_id: str = "", **named: Any
) -> ScriptToolCall:
    """A call of the script; text is taken as it is."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or named)
    return ScriptToolCall(name=tool_name, arguments_json=text, id=call_id)


def answer(*calls: ScriptToolCall, text: str = "", **fields: Any) -> ScriptStep:
    """An answer of the scripted model."""
    return ScriptStep(tool_calls=calls, text=text, **fields)


class RecordedModel(ScriptedProvider):
    """The scripted model, and the conversations that it was called with.

    `hold` keeps its answers back until `release`.
    """

    def __init__(self) -> None:
        self.conversations: dict[tuple[str, int], list[Message]] = {}
        """By execution and step."""
        self.context_window = 0
        self._held_step = 0
        self._released = asyncio.Event()

    def hold(self, step: int = 1) -> None:
        """Keep the answers of this step and later ones back."""
        self._held_step = step

    def release(self) -> None:
        """Let all answers out."""
        self._released.set()

    @override
    async def call(
        self, model: str, request: ModelCallRequest, attempt: int, tools: Sequence[ToolDefinition]
    ) -> ModelResult:
        self.conversations[request.execution_id, request.step] = list(request.messages)
        if 0 < self._held_step <= request.step:
            await self._released.wait()
        result = await super().call(model, request, attempt, tools)
        return replace(result, context_window=self.context_window)


NO_APPROVAL = ApprovalPolicy(rules=[ApprovalRule(require=APPROVAL_REQUIREMENT_NEVER)])

LAST = answer(text="done: {results}")


@dataclass
class ToolAgents:
    """Executions of agents with tools, and the workers that they need."""

    client: Client
    queues: TaskQueues
    effects: Effects
    new_tool_worker: Callable[..., Worker]
    model: RecordedModel = field(default_factory=RecordedModel)
    started: list[WorkflowHandle[Any, Any]] = field(default_factory=list)

    @property
    def queue(self) -> str:
        """Task queue of the tools' worker."""
        return f"{self.queues.prefix}tools"

    def agent(self, steps: Sequence[ScriptStep], *tools: Tool, **fields: Any) -> AgentSpec:
        """An agent of the scripted model; tools without a queue are on this one's."""
        fields.setdefault("approval", NO_APPROVAL)
        agent = AgentSpec(
            model="scripted:test", tools=tools or [tool()], script=Script(steps=steps), **fields
        )
        for each in agent.tools:
            if each.HasField("activity") and not each.activity.task_queue:
                each.activity.task_queue = self.queue
            if each.workflow.type and not each.workflow.task_queue:
                each.workflow.task_queue = self.queue
        return agent

    async def start(
        self, agent: AgentSpec, *, timeout: float = 60, **fields: Any
    ) -> WorkflowHandle[AgentWorkflow, AgentExecution]:
        """Start an execution as the API does; nobody waits for it.

        With `session`, the workflow id of one, it is a turn of it.
        """
        execution_id = fields.pop("execution_id", "") or f"agent-{uuid.uuid4().hex}"
        spec = AgentExecutionSpec(
            agent=agent,
            agent_id="helper@3",
            message=fields.pop("message", "Help me."),
            request_id="request-1",
            session_id="session-1",
            principal="alice",
            **fields.pop("spec", {}),
        )
        if session := fields.pop("session", ""):
            fields["session"] = SessionPlace(workflow_id=session)
        request = AgentWorkflowInput(execution_id=execution_id, spec=spec, **fields)
        request.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=timeout))
        handle = await self.client.start_workflow(
            AgentWorkflow.run,
            request,
            id=execution_id,
            task_queue=self.queues.orchestrator,
            execution_timeout=timedelta(seconds=max(timeout * 2, 180)),
        )
        self.started.append(handle)
        return handle

    async def run(self, *steps: ScriptStep, tools: Sequence[Tool] = (), **fields: Any) -> Ended:
        """Run an agent to its end."""
        options = {
            name: fields.pop(name) for name in ("timeout", "tool_workflows") if name in fields
        }
        handle = await self.start(self.agent(steps, *tools, **fields), **options)
        return await self.ended(handle)

    async def ended(self, handle: WorkflowHandle[Any, Any]) -> Ended:
        """Wait for the end of an execution."""
        outcome = await closed_execution(handle, AgentExecution, errors.execution_from_details)
        full = await handle.query(AgentWorkflow.execution)
        return Ended(handle, outcome, full)

    @contextlib.asynccontextmanager
    async def tools_running(self, **options: Any) -> AsyncIterator[None]:
        """Run the tools' worker meanwhile; options are the worker's."""
        async with self.new_tool_worker(**options):
            yield

    async def has_runs(self, workflow_id: str, count: int) -> bool:
        """Return whether a workflow has so many runs, as far as Temporal lists them: it is late."""
        listed = self.client.list_workflows(f'WorkflowId = "{workflow_id}"')
        return len([run async for run in listed]) >= count

    async def replay(self) -> None:
        """Replay every run of the test: its history must lead through the same code."""
        replayer = Replayer(workflows=[AgentWorkflow], data_converter=DATA_CONVERTER)
        for handle in self.started:
            async for run in self.client.list_workflows(f'WorkflowId = "{handle.id}"'):
                each = self.client.get_workflow_handle(handle.id, run_id=run.run_id)
                await replayer.replay_workflow(await each.fetch_history())


@dataclass
class Ended:
    """An execution that has ended."""

    handle: WorkflowHandle[Any, Any]
    execution: AgentExecution
    full: AgentExecution
    """With its conversation."""

    @property
    def results(self) -> list[ToolResult]:
        """The results that the model was told, in order."""
        return [
            part.tool_result
            for message in self.full.status.messages
            for part in message.parts
            if part.HasField("tool_result")
        ]

    @property
    def outcomes(self) -> list[str]:
        """The outcomes of the results."""
        return [
            ToolOutcome.Name(each.outcome).removeprefix("TOOL_OUTCOME_") for each in self.results
        ]

    @property
    def phase(self) -> str:
        """Phase, and reason where it failed."""
        phase = phase_of(self.execution)
        return phase if phase == "COMPLETED" else f"{phase} {reason_of(self.execution)}"

    @property
    def text(self) -> str:
        """The output's text."""
        return self.execution.status.output.text

    async def scheduled(self) -> list[tuple[str, str, int]]:
        """Return the activities: id, type and bytes of input."""
        return [
            (
                (attributes := event.activity_task_scheduled_event_attributes).activity_id,
                attributes.activity_type.name,
                attributes.input.ByteSize(),
            )
            async for event in self.handle.fetch_history_events()
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        ]
