"""Agents with tools of MCP servers are applied and started: real servers, workers and API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from prometheus_client import CollectorRegistry
from temporalio.client import Client
from temporalio.worker import Worker

from ai_worker.mcp.activity import McpCalls
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.servers import Servers
from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import build_catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.settings import Settings as AiSettings
from ai_worker.worker import new_worker as new_ai_worker
from services.stigma_api.tests.api_server import Api, refused, running_api
from services.stigma_api.tests.test_api_tool_access import input_of, start
from services.stigma_orchestrator.tests.mcp_agents import McpServer
from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionRequest
from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_NEVER,
    ActivityTool,
    Agent,
    AgentSpec,
    ApprovalPolicy,
    ApprovalRule,
    McpTool,
    Script,
    ScriptStep,
    ScriptToolCall,
    Tool,
    ToolPolicy,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest, GetAgentRequest
from stigma_api.definitions import mcp_listing
from stigma_orchestrator.delivery.deliver_activity import CallbackSender
from stigma_orchestrator.delivery.metrics import CallbackMetrics
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.worker import new_execution_worker

Code = grpc.StatusCode


def mcp(server: str = "fx", *tools: str, prefix: str = "") -> Tool:
    return Tool(mcp=McpTool(server=server, tools=tools, prefix=prefix))


def agent(*tools: Tool, **fields: Any) -> AgentSpec:
    rule = ApprovalRule(require=APPROVAL_REQUIREMENT_NEVER)
    approval = ApprovalPolicy(rules=[rule])
    return AgentSpec(model="scripted:x", tools=tools, approval=approval, **fields)


@asynccontextmanager
async def orchestrator(client: Client, api: Api) -> AsyncIterator[Worker]:
    settings = OrchestratorSettings(task_queue_prefix=api.queues.prefix)
    sender = CallbackSender(client, CallbackMetrics(CollectorRegistry()))
    async with new_execution_worker(client, sender, settings) as worker:
        yield worker


@pytest.fixture
async def api(client: Client, temporal_server: Any, tmp_path: Path) -> AsyncIterator[Api]:
    """An API with its orchestrator."""
    async with (
        running_api(temporal_server.address, tmp_path, tool_task_queues="orders") as api,
        orchestrator(client, api),
    ):
        yield api


@pytest.fixture
async def server(tmp_path: Path) -> McpServer:
    return McpServer(tmp_path / "effects", http=False, options=[])


@pytest.fixture
async def staffed(client: Client, api: Api, server: McpServer) -> AsyncIterator[Api]:
    """The API with an AI worker, which has the server `fx`, and `other`, which is the same."""
    metrics = McpMetrics(CollectorRegistry())
    resources = [server.resource(), server.resource("other", tools=("act", "describe"))]
    servers = Servers(resources, metrics)
    caller = ModelCaller(build_catalog((), 1), ModelCallMetrics(CollectorRegistry()))
    settings = AiSettings(task_queue_prefix=api.queues.prefix)
    async with new_ai_worker(client, caller, settings, McpCalls(servers, metrics)):
        yield api
    await servers.close()


async def test_a_version_holds_what_its_servers_listed(
    staffed: Api, server: McpServer, client: Client
) -> None:
    given = Agent(name="clerk", spec=agent(mcp("fx", "act", "describe", prefix="t_")))
    given.mcp_tools.add(server="fx", name="evil", exposed_name="evil")
    first = await staffed.agents.ApplyAgent(ApplyAgentRequest(agent=given))
    assert [(each.server, each.name, each.exposed_name) for each in first.mcp_tools] == [
        ("fx", "act", "t_act"),
        ("fx", "describe", "t_describe"),
    ]
    assert first.mcp_tools[1].description == "Describe a city."
    assert '"city"' in first.mcp_tools[1].input_schema
    assert await staffed.agents.GetAgent(GetAgentRequest(id="clerk")) == first
    assert (await staffed.apply("clerk", given.spec)).version == 1

    server.next_time("changed")
    await server.kill()
    second = await staffed.apply("clerk", given.spec)
    assert second.version == 2
    assert second.mcp_tools[0] == first.mcp_tools[0]
    assert second.mcp_tools[1].digest != first.mcp_tools[1].digest
    for version, applied in (("clerk@1", first), ("clerk@2", second)):
        started = await start(staffed, agent_id=version, message="m")
        assert list((await input_of(client, started.id)).mcp_tools) == list(applied.mcp_tools)


async def test_an_inline_agent_runs_with_what_is_listed_now(
    staffed: Api, server: McpServer
) -> None:
    call = ScriptToolCall(name="x_act", arguments_json='{"value": "hello"}')
    script = Script(steps=[ScriptStep(tool_calls=[call]), ScriptStep(text="{results}")])
    spec = agent(mcp("fx", "act", prefix="x_"), script=script)
    started = await start(staffed, spec=spec, message="m")
    events = [
        event
        async for event in staffed.executions.WatchAgentExecution(
            WatchAgentExecutionRequest(id=started.id)
        )
    ]
    assert events[-1].ended.execution.status.output.text == "hello"
    [told] = [each.tool_call_ended.result for each in events if each.HasField("tool_call_ended")]
    assert (told.name, told.content) == ("x_act", "hello")
    assert [value for _, value, _ in server.calls] == ["hello"]


@pytest.mark.parametrize(
    ("tools", "fields", "problem"),
    [
        (
            [mcp("none")],
            ["agent.spec.tools[0].mcp"],
            "no MCP server 'none' in STIGMA_PROVIDERS_FILE of the AI worker",
        ),
        (
            [mcp(), mcp("other", "ask")],
            ["agent.spec.tools[1].mcp"],
            "MCP server 'other' offers no tool 'ask'; it offers act, describe",
        ),
        (
            [mcp("fx", "act"), mcp("other", "act")],
            ["agent.spec.tools[1]"],
            "act is a tool already",
        ),
        (
            [mcp("fx", "act"), mcp("fx", "act")],
            ["agent.spec.tools[1]"],
            "act is a tool already",
        ),
        (
            [
                Tool(name="A-ct", activity=ActivityTool(type="A", task_queue="orders")),
                mcp("fx", "act"),
            ],
            ["agent.spec.tools[1]"],
            "act is a tool already, A-ct",
        ),
    ],
)
async def test_tools_that_cannot_be_are_refused(
    staffed: Api, tools: list[Tool], fields: list[str], problem: str
) -> None:
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await staffed.apply("clerk", agent(*tools))
    assert refusal.fields == fields
    assert problem in refusal.message


async def test_equal_names_are_told_apart_by_a_prefix(staffed: Api) -> None:
    applied = await staffed.apply(
        "clerk", agent(mcp("fx", "act"), mcp("other", "act", prefix="other_"))
    )
    assert [each.exposed_name for each in applied.mcp_tools] == ["act", "other_act"]


async def test_a_server_that_hangs_is_unavailable(staffed: Api, server: McpServer) -> None:
    server.next_time("hanging")
    async with refused(Code.UNAVAILABLE) as refusal:
        await staffed.apply("clerk", agent(mcp()))
    assert refusal.message.startswith("agent.spec.tools[0].mcp: MCP server 'fx' does not list")


async def test_without_an_ai_worker_nothing_is_listed(api: Api) -> None:
    async with refused(Code.UNAVAILABLE) as refusal:
        await api.apply("clerk", agent(mcp()))
    assert refusal.message == "agent.spec.tools[0].mcp: no AI worker listed the tools within 12 s"


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        (Tool(name="a", mcp=McpTool(server="fx")), "name"),
        (Tool(description="a", mcp=McpTool(server="fx")), "description"),
        (Tool(input_schema="{}", mcp=McpTool(server="fx")), "input_schema"),
        (mcp(""), "mcp.server"),
        (mcp("a b"), "mcp.server"),
        (mcp("fx", ""), "mcp.tools[0]"),
        (mcp("fx", "act", "act"), "mcp.tools[1]"),
        (mcp("fx", prefix="1"), "mcp.prefix"),
        (mcp("fx", prefix="a" * 33), "mcp.prefix"),
        (
            Tool(
                mcp=McpTool(server="fx"),
                policy=ToolPolicy(heartbeat_timeout=Duration(seconds=5)),
            ),
            "policy.heartbeat_timeout",
        ),
    ],
)
async def test_what_is_malformed_is_refused_before_a_server_is_asked(
    api: Api, tool: Tool, field: str
) -> None:
    no_answer = mcp_listing._TIMEOUT.total_seconds()
    async with asyncio.timeout(no_answer), refused(Code.INVALID_ARGUMENT) as refusal:
        await api.apply("clerk", agent(tool))
    assert refusal.fields == [f"agent.spec.tools[0].{field}"]
