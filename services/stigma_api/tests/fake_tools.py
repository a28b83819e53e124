"""Agents with tools of every kind, whose model calls what their message says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import nexusrpc.handler
from temporalio import activity, workflow
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.stigma_api.tests.api_server import Api, running_api
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    ROLE_MODEL,
    AgentExecution,
    Message,
    Part,
    ToolCall,
    ToolResult,
    Usage,
)
from stigma.agent.v1.agent_pb2 import (
    ActivityTool,
    AgentSpec,
    NexusTool,
    Tool,
    ToolPolicy,
    WorkflowTool,
)
from stigma.contracts import conversation, tool_results, tools, workflows
from stigma.contracts.activities import CONVERSE
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    ConversationItem,
    ConverseRequest,
    ConverseResponse,
)

_MINUTE = timedelta(minutes=1)
MODEL = "scripted:tools"


@workflow.defn(name="AgentWorkflow")
class ToolAgent(workflows.AgentWorkflow):
    """Plays its message: steps with | between them, each the tools that its answer calls.

    `?name` is a call that is refused; `-` continues as new before the step.
    """

    def __init__(self) -> None:
        self._execution = AgentExecution()

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        """Nobody waits."""

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        return self._execution

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        execution, steps = self._execution, request.spec.message.split("|")
        execution.id = request.execution_id
        execution.status.messages.extend(request.carried.messages)
        for step in range(request.carried.steps + 1, len(steps) + 1):
            plan = steps[step - 1].split()
            if plan[:1] == ["-"] and request.carried.steps != step - 1:
                request.carried.steps = step - 1
                request.carried.messages.extend(execution.status.messages)
                workflow.continue_as_new(request)
            answer = await self._ask(request, step, [word for word in plan if word != "-"])
            calls = list(conversation.calls(answer))
            results = await asyncio.gather(*(self._call(request, each) for each in calls))
            told = {each.call_id: each for each in results}
            execution.status.messages.extend(conversation.messages(answer, told))
        execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
        return execution

    async def _ask(
        self, request: AgentWorkflowInput, step: int, plan: list[str]
    ) -> ConverseResponse:
        plan_message = Message(parts=[Part(text=word) for word in plan])
        answer: ConverseResponse = await workflow.execute_activity(
            CONVERSE,
            ConverseRequest(
                execution_id=request.execution_id,
                step=step,
                items=[ConversationItem(inline=plan_message)],
                model=MODEL,
            ),
            activity_id=tools.model_activity_id(step),
            task_queue=TaskQueues.from_orchestrator(workflow.info().task_queue).ai,
            start_to_close_timeout=_MINUTE,
            result_type=ConverseResponse,
        )
        return answer

    async def _call(self, request: AgentWorkflowInput, call: ToolCall) -> ToolResult:
        tool = tools.by_name(request.spec.agent.tools)[call.name]
        policy = tools.Policy.of(tool)
        try:
            found = await self._run(request, tool, call, policy)
        except (FailureError, asyncio.CancelledError) as error:
            return tool_results.of_failure(call, tool, error)
        payload = workflow.payload_converter().to_payload(found)
        return tool_results.of_payload(call, payload, policy.max_result_bytes)

    async def _run(
        self, request: AgentWorkflowInput, tool: Tool, call: ToolCall, policy: tools.Policy
    ) -> Any:
        header = tools.header_text(request.execution_id, request.spec, call.call_id)
        match tool.WhichOneof("kind"):
            case "activity":
                return await workflow.execute_activity(
                    tool.activity.type,
                    {"secret": "arguments"},
                    activity_id=tools.tool_activity_id(call.call_id),
                    task_queue=tool.activity.task_queue,
                    schedule_to_start_timeout=policy.start_timeout,
                    start_to_close_timeout=policy.attempt_timeout,
                    retry_policy=RetryPolicy(
                        initial_interval=timedelta(milliseconds=10),
                        maximum_attempts=policy.attempts,
                    ),
                )
            case "workflow":
                return await workflow.execute_child_workflow(
                    tool.workflow.type,
                    id=tools.child_workflow_id(request.execution_id, call.call_id),
                    task_queue=tool.workflow.task_queue,
                    execution_timeout=policy.timeout,
                )
        client = workflow.create_nexus_client(
            service=tool.nexus.service, endpoint=tool.nexus.endpoint
        )
        return await client.execute_operation(
            tool.nexus.operation,
            "arguments",
            schedule_to_close_timeout=policy.timeout,
            headers={tools.CALL_HEADER: header},
        )


@workflow.defn(name="Ship")
class Ship:
    """A tool that works, in a workflow."""

    @workflow.run
    async def run(self) -> str:
        return "shipped, which is secret"


@workflow.defn(name="Sink")
class Sink:
    """A tool that fails, in a workflow."""

    @workflow.run
    async def run(self) -> str:
        raise ApplicationError("a secret iceberg", type="Iceberg", non_retryable=True)


@nexusrpc.handler.service_handler(name="Bills")
class Bills:
    """A tool behind Nexus."""

    @nexusrpc.handler.sync_operation
    async def pay(self, _context: nexusrpc.handler.StartOperationContext, sent: str) -> str:
        return f"paid with {sent}, which is secret"


class FakeTools:
    """The model, and the tools that are activities."""

    def __init__(self) -> None:
        self.holds = asyncio.Event()
        self.release = asyncio.Event()

    @activity.defn(name=CONVERSE)
    async def converse(self, request: ConverseRequest) -> ConverseResponse:
        """Call the tools that the request's own message names."""
        names = [part.text for part in request.items[0].inline.parts]
        calls = [
            ToolCall(
                call_id=tools.call_id(request.step, number),
                name=name.removeprefix("?"),
                arguments_json='{"secret": "arguments"}',
            )
            for number, name in enumerate(names, start=1)
        ]
        parts = [Part(text="a secret answer"), *(Part(tool_call=call) for call in calls)]
        return ConverseResponse(
            message=Message(role=ROLE_MODEL, parts=parts),
            usage=Usage(input_tokens=100, output_tokens=5, cache_read_tokens=60),
            refused=[
                tool_results.of_refusal(call, f"There is no secret tool {call.name}.")
                for call, name in zip(calls, names, strict=True)
                if name.startswith("?")
            ],
        )

    @activity.defn(name="Find")
    async def find(self, arguments: dict[str, str]) -> dict[str, str]:
        return {"status": "shipped", "note": arguments["secret"]}

    @activity.defn(name="Fail")
    async def fail(self, _arguments: Any) -> None:
        raise ApplicationError("a secret that was not found", type="NotFound")

    @activity.defn(name="Flaky")
    async def flaky(self, _arguments: Any) -> str:
        if activity.info().attempt < 3:
            raise ApplicationError("a secret", type="NotYet")
        return "secret"

    @activity.defn(name="Lose")
    async def lose(self, _arguments: Any) -> None:
        await self.release.wait()

    @activity.defn(name="Talk")
    async def talk(self, _arguments: Any) -> str:
        return "a secret " * 100

    @activity.defn(name="Hold")
    async def hold(self, _arguments: Any) -> str:
        self.holds.set()
        await self.release.wait()
        return "secret"


def tool(name: str, queue: str, **policy: Any) -> Tool:
    """A tool whose activity is named alike."""
    kind = ActivityTool(type=name.capitalize(), task_queue=queue)
    return Tool(name=name, activity=kind, policy=policy_of(**policy))


def policy_of(**fields: Any) -> ToolPolicy:
    policy = ToolPolicy()
    for name, value in fields.items():
        if isinstance(value, timedelta):
            getattr(policy, name).FromTimedelta(value)
        else:
            setattr(policy, name, value)
    return policy


def tools_on(queue: str, endpoint: str) -> list[Tool]:
    """One tool for each way in which a call can end."""
    short = timedelta(milliseconds=300)
    return [
        tool("find", queue),
        tool("fail", queue),
        tool("flaky", queue, retry_safe=True, attempts=5),
        tool("lose", queue, attempt_timeout=short),
        tool("nobody", f"{queue}-deserted", start_timeout=short),
        tool("talk", queue, max_result_bytes=100),
        tool("hold", queue),
        # Named as Stigma's own activities are.
        Tool(name="call_model", activity=ActivityTool(type="Find", task_queue=queue)),
        Tool(name="ship", workflow=WorkflowTool(type="Ship", task_queue=queue)),
        Tool(name="sink", workflow=WorkflowTool(type="Sink", task_queue=queue)),
        Tool(name="pay", nexus=NexusTool(endpoint=endpoint, service="Bills", operation="pay")),
    ]


@asynccontextmanager
async def api_with_tools(
    address: str, directory: Path, client: Client
) -> AsyncIterator[tuple[Api, FakeTools]]:
    """Serve an API whose agent `clerk` has all tools, with their workers."""
    fake = FakeTools()
    allowed: dict[str, Any] = {"tool_task_queues": "*", "tool_nexus_endpoints": "*"}
    async with running_api(address, directory, **allowed) as api:
        queue = f"{api.queues.prefix}tools"
        endpoint = await new_endpoint(client, queue)
        await api.apply("clerk", AgentSpec(model=MODEL, tools=tools_on(queue, endpoint)))
        activities = [
            *(fake.find, fake.fail, fake.flaky, fake.lose, fake.talk, fake.hold),
        ]
        runner = UnsandboxedWorkflowRunner()
        async with (
            Worker(
                client,
                task_queue=api.queues.orchestrator,
                workflows=[ToolAgent],
                workflow_runner=runner,
            ),
            Worker(client, task_queue=api.queues.ai, activities=[fake.converse]),
            Worker(
                client,
                task_queue=queue,
                activities=activities,
                workflows=[Ship, Sink],
                nexus_service_handlers=[Bills()],
                workflow_runner=runner,
            ),
        ):
            yield api, fake
            fake.release.set()


async def new_endpoint(client: Client, queue: str) -> str:
    """Make a Nexus endpoint that a task queue serves."""
    name = f"bills-{queue}"
    target = EndpointTarget(
        worker=EndpointTarget.Worker(namespace=client.namespace, task_queue=queue)
    )
    await client.operator_service.create_nexus_endpoint(
        CreateNexusEndpointRequest(spec=EndpointSpec(name=name, target=target))
    )
    return name
