"""What tools may reach, at Apply and at start, against a real Temporal server."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api, refused, running_api
from services.stigma_api.tests.fake_tools import new_endpoint
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    GetAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import (
    ActivityTool,
    Agent,
    AgentSpec,
    NexusTool,
    Tool,
    WorkflowTool,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.contracts.executions import Kind
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma_api.access.principals import Action, Principal, Principals
from stigma_api.definitions.database import Database
from stigma_api.definitions.registry import Registry
from stigma_api.definitions.tool_access import ToolPlaces
from stigma_api.errors import ApiError

Code = grpc.StatusCode
QUEUES = TaskQueues("mine-")


def activity(queue: str) -> Tool:
    return Tool(name="find", activity=ActivityTool(type="Find", task_queue=queue))


def child(queue: str) -> Tool:
    return Tool(name="ship", workflow=WorkflowTool(type="Ship", task_queue=queue))


def operation(endpoint: str) -> Tool:
    return Tool(name="pay", nexus=NexusTool(endpoint=endpoint, service="s", operation="o"))


def document(named: str, name: str = "weather") -> Tool:
    return Tool(name=name, workflow=WorkflowTool(name=named))


def agent(*tools: Tool) -> AgentSpec:
    return AgentSpec(model="scripted:x", tools=tools)


def not_allowed(*tools: Tool, queues: str = "", endpoints: str = "") -> list[str]:
    """The fields that an allow-list refuses."""
    places = ToolPlaces(queues.split(), endpoints.split(), QUEUES)
    try:
        places.check("spec", agent(*tools))
    except ApiError as error:
        return error.fields
    return []


def test_nothing_is_allowed_by_default() -> None:
    assert not_allowed(activity("orders"), child("orders"), operation("pay"), document("w")) == [
        "spec.tools[0].activity.task_queue",
        "spec.tools[1].workflow.task_queue",
        "spec.tools[2].nexus.endpoint",
    ]


def test_globs_allow() -> None:
    tools = (activity("orders"), child("ship-eu"), operation("pay-eu"))
    assert not_allowed(*tools, queues="orders ship-*", endpoints="pay-*") == []
    assert not_allowed(*tools, queues="*", endpoints="*") == []
    # As they are written.
    assert not_allowed(activity("Orders"), queues="orders") == ["spec.tools[0].activity.task_queue"]
    # An endpoint is no queue.
    assert not_allowed(operation("orders"), queues="orders") == ["spec.tools[0].nexus.endpoint"]


@pytest.mark.parametrize(
    "queue",
    [
        *(getattr(QUEUES, name) for name in ("engine", "orchestrator", "watch", "ai")),
        "temporal-sys-per-ns-tq",
        "/_sys/orders/1",
    ],
)
def test_queues_of_stigma_and_temporal_are_never_allowed(queue: str) -> None:
    for tool, field in ((activity(queue), "activity"), (child(queue), "workflow")):
        assert not_allowed(tool, queues=f"* {queue}") == [f"spec.tools[0].{field}.task_queue"]


@pytest.fixture
async def registered(tmp_path: Path) -> AsyncIterator[Registry[Workflow]]:
    """The registry of workflows that `serving` serves, with two versions of weather."""
    database = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/registry.db")
    workflows = Registry(database, Kind.WORKFLOW, Workflow)
    for text in ("first", "second"):
        spec = WorkflowSpec(document=text, description="not needed to run it")
        await workflows.apply(Workflow(name="weather", spec=spec, labels={"a": "b"}), "local")
    yield workflows
    await database.close()


def serving(temporal_server: Any, directory: Path, **settings: Any) -> Any:
    return running_api(temporal_server.address, directory, **settings)


async def start(api: Api, **fields: Any) -> AgentExecution:
    started: AgentExecution = await api.executions.StartAgent(StartAgentRequest(**fields))
    return started


async def input_of(client: Client, execution_id: str) -> AgentWorkflowInput:
    """What a workflow was started with."""
    history = await client.get_workflow_handle(execution_id).fetch_history()
    content = history.events[0].workflow_execution_started_event_attributes.input.payloads
    [given] = await client.data_converter.decode(content, [AgentWorkflowInput])
    assert isinstance(given, AgentWorkflowInput)
    return given


async def test_the_list_holds_at_apply_and_at_every_start(
    temporal_server: Any, tmp_path: Path, client: Client
) -> None:
    endpoint = await new_endpoint(client, uuid.uuid4().hex)
    spec = agent(activity("orders"), operation(endpoint))
    wide = {"tool_task_queues": "orders, ship-*", "tool_nexus_endpoints": f'["{endpoint}"]'}
    async with serving(temporal_server, tmp_path, **wide) as api:
        await api.apply("clerk", spec)
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await api.apply("other", agent(activity("elsewhere"), child(api.queues.ai)))
        assert refusal.fields == [
            "agent.spec.tools[0].activity.task_queue",
            "agent.spec.tools[1].workflow.task_queue",
        ]
        await start(api, agent_id="clerk", message="m", request_id="before")
    prefix = {"task_queue_prefix": api.queues.prefix}
    async with serving(temporal_server, tmp_path, tool_task_queues="orders", **prefix) as api:
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await start(api, agent_id="clerk", message="m")
        assert refusal.fields == ["agent.spec.tools[1].nexus.endpoint"]
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await start(api, spec=spec, message="m")
        assert refusal.fields == ["spec.tools[1].nexus.endpoint"]
        # A start that was accepted before is answered.
        again = await start(api, agent_id="clerk", message="m", request_id="before")
        assert again.spec.agent_id == "clerk@1"


async def test_documents_of_tools_are_resolved_at_start(
    temporal_server: Any, tmp_path: Path, client: Client, registered: Registry[Workflow]
) -> None:
    async with serving(temporal_server, tmp_path) as api:
        tools = (document("weather", "newest"), document("weather@1", "first"))
        await api.apply("clerk", agent(*tools))
        started = await start(api, agent_id="clerk", message="m")
        given = await input_of(client, started.id)
        assert {
            tool: (each.name, each.version, each.spec.document)
            for tool, each in given.tool_workflows.items()
        } == {"newest": ("weather", 2, "second"), "first": ("weather", 1, "first")}
        assert list(given.spec.agent.tools) == list(tools)
        # Schemas may be large: what is shown of a start has none.
        shown = await api.executions.GetAgentExecution(GetAgentExecutionRequest(id=started.id))
        assert not started.spec.agent.tools
        assert not shown.spec.agent.tools
        spec = WorkflowSpec(document="third")
        await registered.apply(Workflow(name="weather", spec=spec), "local")
        inline = await start(api, spec=agent(*tools), message="m")
        given = await input_of(client, inline.id)
        assert given.tool_workflows["newest"].version == 3

        await registered.delete("weather")
        async with refused(Code.NOT_FOUND) as refusal:
            await start(api, agent_id="clerk", message="m")
        assert refusal.message == "workflow weather of tool newest not found"


async def test_a_document_that_is_not_registered_is_refused_at_apply(
    temporal_server: Any, tmp_path: Path, registered: Registry[Workflow]
) -> None:
    async with serving(temporal_server, tmp_path) as api:
        for named in ("weather@3", "snow"):
            async with refused(Code.FAILED_PRECONDITION) as refusal:
                await api.apply("clerk", agent(document("weather", "good"), document(named, "bad")))
            assert refusal.reason == "TOOL_WORKFLOW_NOT_FOUND"
            assert refusal.message == f"workflow {named} of tool bad is not registered"


async def test_documents_that_are_too_large_together_are_refused(
    temporal_server: Any, tmp_path: Path, registered: Registry[Workflow]
) -> None:
    spec = WorkflowSpec(document="x" * 500_000)
    await registered.apply(Workflow(name="long", spec=spec), "local")
    async with serving(temporal_server, tmp_path) as api:
        await api.apply("clerk", agent(*(document("long", f"tool{n}") for n in range(4))))
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await start(api, agent_id="clerk", message="m")
        assert refusal.fields == ["request"]
        assert "its agent and the workflows that its tools name included" in refusal.message


async def test_its_author_must_be_allowed_to_use_a_document_and_its_starter_need_not(
    temporal_server: Any, tmp_path: Path, registered: Registry[Workflow]
) -> None:
    principals = Principals(
        [
            _known("author", workflows=["weather", "absent"]),
            _known("user", workflows=["other"]),
        ]
    )
    spec = agent(document("weather"))
    async with serving(temporal_server, tmp_path, principals=principals) as api:
        await api.agents.ApplyAgent(_apply("clerk", spec), **_key("author"))
        for named in ("weather", "absent"):  # whether it exists is not told
            async with refused(Code.PERMISSION_DENIED):
                await api.agents.ApplyAgent(_apply("mine", agent(document(named))), **_key("user"))
        request = StartAgentRequest(agent_id="clerk", message="m")
        await api.executions.StartAgent(request, **_key("user"))
        async with refused(Code.PERMISSION_DENIED):
            inline = StartAgentRequest(spec=spec, message="m")
            await api.executions.StartAgent(inline, **_key("user"))


def _known(name: str, **permissions: Any) -> Principal:
    """A principal that may do everything but what an administrator may."""
    digest = hashlib.sha256(f"{name}-key".encode()).hexdigest()
    actions = frozenset(Action) - {Action.ADMIN}
    return Principal(name=name, key_sha256=[digest], actions=actions, **permissions)


def _key(name: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {name}-key")]}


def _apply(name: str, spec: AgentSpec) -> ApplyAgentRequest:
    return ApplyAgentRequest(agent=Agent(name=name, spec=spec))
