"""Agents call tools of MCP servers, of both versions of the protocol, over both transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from ai_worker.mcp.activity import McpCalls
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.servers import Servers
from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import build_catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.settings import Settings as AiSettings
from ai_worker.worker import new_worker as new_ai_worker
from services.stigma_orchestrator.tests.mcp_agents import McpAgents, McpServer
from services.stigma_orchestrator.tests.orchestration import Sender
from services.stigma_orchestrator.tests.tool_agents import LAST, Effects, ToolAgents, answer, call
from stigma.agent.v1.agent_pb2 import McpTool
from stigma.contracts.limits import MODEL_CALL_HEARTBEAT_TIMEOUT
from stigma.contracts.task_queues import TaskQueues
from stigma_orchestrator.delivery.metrics import CallbackMetrics
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.worker import new_execution_worker
from tests.stack.waiting import eventually

LONGER_THAN_A_HEARTBEAT = MODEL_CALL_HEARTBEAT_TIMEOUT + timedelta(seconds=2)

TRANSPORTS = {
    "http": (True, []),
    "http json": (True, ["json"]),
    "http 2025": (True, ["old"]),
    "stdio": (False, []),
    "stdio 2025": (False, ["old"]),
}

# Of what does not depend on how a server is reached: one of each kind, and of each version.
TWO_TRANSPORTS = pytest.mark.parametrize("server", ["http", "stdio 2025"], indirect=True)


@pytest.fixture(params=TRANSPORTS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[McpServer]:
    http, options = TRANSPORTS[request.param]
    own = McpServer(tmp_path / "effects", http, options)
    await own.start()
    yield own
    await own.kill()


@pytest.fixture
async def mcp(unstaffed: McpAgents) -> AsyncIterator[McpAgents]:
    """Agents with all the workers that they need."""
    async with unstaffed.new_ai_worker():
        yield unstaffed


@pytest.fixture
async def unstaffed(
    client: Client, settings: OrchestratorSettings, server: McpServer
) -> AsyncIterator[McpAgents]:
    metrics = McpMetrics(CollectorRegistry())
    servers = Servers([server.resource()], metrics)
    agents = ToolAgents(client, TaskQueues(settings.task_queue_prefix), Effects(), _no_worker)
    caller = ModelCaller(build_catalog((), 1), ModelCallMetrics(CollectorRegistry()))
    ai_settings = AiSettings(
        task_queue_prefix=settings.task_queue_prefix, shutdown_grace=settings.shutdown_grace
    )
    sender = Sender(client, CallbackMetrics(CollectorRegistry()))

    def ai_worker() -> Worker:
        return new_ai_worker(client, caller, ai_settings, McpCalls(servers, metrics))

    async with new_execution_worker(client, sender, settings):
        async with asyncio.timeout(100):
            yield McpAgents(agents, servers, ai_worker)
        await agents.replay()
    await servers.close()
    assert not server.started_by_the_worker()


def _no_worker(**_: Any) -> Any:
    raise AssertionError("these agents have tools of MCP servers only")


@pytest.mark.tools_contract("MCP, outcome OK: texts, else structured content, else what it is")
@pytest.mark.tools_contract("MCP, outcome ERROR: the tool's own words")
async def test_results_reach_the_model(mcp: McpAgents, server: McpServer) -> None:
    calls = [call("act", value="a"), call("act", how="fail"), call("describe", city="Rome")]
    ended = await mcp.run(answer(*calls), LAST)
    assert ended.outcomes == ["OK", "ERROR", "OK"]
    assert [each.content for each in ended.results[:2]] == [
        "a",
        "Error executing tool act: the disk is full",
    ]
    assert json.loads(ended.results[2].content) == {"city": "Rome", "people": 3}
    assert ended.phase == "COMPLETED"
    assert [(tool, value) for tool, value, _ in sorted(server.calls)] == [
        ("act", ""),
        ("act", "a"),
        ("describe", "Rome"),
    ]


@pytest.mark.tools_contract("MCP: the server is told whose a call is")
@TWO_TRANSPORTS
async def test_a_call_says_whose_it_is(mcp: McpAgents, server: McpServer) -> None:
    ended = await mcp.run(answer(call("act", value="a")), LAST)
    assert server.keys == [f"{ended.handle.id}/1-1"]
    assert server.headers == [
        {
            "execution": ended.handle.id,
            "agent": "helper@3",
            "session": "session-1",
            "call": "1-1",
            "principal": "alice",
            "idempotency_key": f"{ended.handle.id}/1-1",
        }
    ]


@pytest.mark.tools_contract("MCP, outcome OK: texts, else structured content, else what it is")
@TWO_TRANSPORTS
async def test_what_models_are_not_shown_is_named(mcp: McpAgents) -> None:
    ended = await mcp.run(answer(call("act", how="image", value="a cat")), LAST)
    assert ended.results[0].content == "a cat\n[image/png, 12 KB, not shown]"


@TWO_TRANSPORTS
async def test_long_results_are_cut(mcp: McpAgents) -> None:
    policy = {"max_result_bytes": 200}
    ended = await mcp.run(answer(call("act", value="ü" * 5_000)), LAST, policy=policy)
    (result,) = ended.results
    assert (result.truncated, len(result.content.encode()) <= 200) == (True, True)
    assert "10000 bytes" in result.content


@pytest.mark.tools_contract("MCP, outcome REFUSED: no such tool, arguments that it does not take")
@TWO_TRANSPORTS
async def test_unknown_tools_and_arguments_are_refused(mcp: McpAgents, server: McpServer) -> None:
    ended = await mcp.run(answer(call("none"), call("act", value=3), call("describe")), LAST)
    assert ended.outcomes == ["REFUSED"] * 3
    assert ended.results[0].content.endswith("The tools are: act, ask, describe.")
    assert server.calls == []


@pytest.mark.tools_contract("MCP, outcome UNKNOWN: the connection is lost after the call was sent")
async def test_a_server_that_dies_in_a_call_leaves_it_unknown(
    mcp: McpAgents, server: McpServer
) -> None:
    handle = await mcp.start(
        answer(call("act", how="die")), answer(call("act", value="next")), LAST
    )
    if server.process is not None:
        await server.ended()
        await server.start()
    ended = await mcp.agents.ended(handle)
    assert ended.outcomes == ["UNKNOWN", "OK"]
    assert "may have happened" in ended.results[0].content
    assert [value for _, value, _ in server.calls] == ["", "next"]


@pytest.mark.tools_contract("MCP, outcome NOT_RUN: the server is away")
@pytest.mark.parametrize("server", ["http", "http 2025"], indirect=True)
async def test_a_call_of_a_server_that_is_away_is_not_run(
    mcp: McpAgents, server: McpServer
) -> None:
    steps = [answer(call("act", how="die")), answer(call("act", value="next")), LAST]
    ended = await mcp.run(*steps, policy={"start_timeout": 5})
    assert ended.outcomes == ["UNKNOWN", "NOT_RUN"]
    assert [value for _, value, _ in server.calls] == [""]


@pytest.mark.tools_contract("MCP: a call is sent once, a safe one again under one key")
@TWO_TRANSPORTS
async def test_a_safe_call_is_made_again(mcp: McpAgents, server: McpServer) -> None:
    handle = await mcp.start(
        answer(call("act", how="die")), LAST, policy={"retry_safe": True, "attempts": 2}
    )
    while server.process is not None and len(server.calls) < 2:
        await server.ended()
        await server.start()
    ended = await mcp.agents.ended(handle)
    assert ended.outcomes == ["UNKNOWN"]
    assert server.keys == [f"{ended.handle.id}/1-1"] * 2


@pytest.mark.tools_contract("MCP: a connection is made anew before a call")
async def test_a_server_may_restart_between_calls(mcp: McpAgents, server: McpServer) -> None:
    first = await mcp.run(answer(call("act", value="1")), LAST)
    await server.restart()
    second = await mcp.run(answer(call("act", value="2")), LAST)
    assert first.outcomes + second.outcomes == ["OK", "OK"]
    assert [value for _, value, _ in server.calls] == ["1", "2"]


async def test_a_cancelled_call_leaves_no_process(mcp: McpAgents, server: McpServer) -> None:
    handle = await mcp.start(answer(call("act", how="stuck")), LAST)
    await eventually(lambda: server.calls, what="the call")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    await eventually(lambda: not server.started_by_the_worker(), what="its end")


@pytest.mark.tools_contract("MCP, outcome UNKNOWN: the AI worker stopped")
# What answers without event streams does not see a connection close: it answers nobody.
@pytest.mark.tools_contract("MCP: a cancel reaches the server")
@pytest.mark.parametrize(
    "server", [each for each in TRANSPORTS if each != "http json"], indirect=True
)
async def test_a_cancel_reaches_the_server(mcp: McpAgents, server: McpServer) -> None:
    handle = await mcp.start(answer(call("act", how="wait", value="a")), LAST)
    await eventually(lambda: server.calls, what="the call")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    await eventually(lambda: server.cancelled == ["a"], what="the cancel")


@pytest.mark.parametrize("server", ["http", "stdio"], indirect=True)
@pytest.mark.parametrize("is_safe", [False, True])
async def test_a_worker_that_stops_in_a_call_cancels_no_execution(
    unstaffed: McpAgents, server: McpServer, is_safe: bool
) -> None:
    policy = {"retry_safe": is_safe, "timeout": 60, "attempt_timeout": 40, "attempts": 2}
    attempts = 2 if is_safe else 1
    async with unstaffed.new_ai_worker():
        handle = await unstaffed.start(answer(call("act", how="wait")), LAST, policy=policy)
        await eventually(lambda: server.calls, what="the call")
    async with unstaffed.new_ai_worker():
        await eventually(lambda: len(server.calls) == attempts, what="the last attempt")
        if is_safe:
            await server.kill()  # no attempt of this call ends by itself
        ended = await unstaffed.agents.ended(handle)
    assert (ended.phase, ended.outcomes) == ("COMPLETED", ["UNKNOWN"])
    assert server.keys == [f"{handle.id}/1-1"] * attempts


@pytest.mark.tools_contract("MCP, outcome UNKNOWN: no answer in time")
@TWO_TRANSPORTS
async def test_a_call_that_takes_too_long_is_unknown(mcp: McpAgents, server: McpServer) -> None:
    ended = await mcp.run(
        answer(call("act", how="wait")),
        answer(call("act", value="next")),
        LAST,
        policy={"timeout": 6},
    )
    assert ended.outcomes == ["UNKNOWN", "OK"]


@TWO_TRANSPORTS
async def test_many_calls_and_one_failure(mcp: McpAgents, server: McpServer) -> None:
    calls = [call("act", value=f"v{n}") for n in range(99)]
    ended = await mcp.run(answer(*calls, call("act", how="fail")), LAST)
    assert ended.outcomes == ["OK"] * 99 + ["ERROR"]
    assert len(server.calls) == 100


@pytest.mark.tools_contract("MCP: a changed tool ends it before any model call")
@TWO_TRANSPORTS
@pytest.mark.parametrize("options", ["renamed", "changed"])
async def test_changed_tools_end_an_execution_before_its_first_model_call(
    mcp: McpAgents, server: McpServer, options: str
) -> None:
    definitions = await mcp.list()
    await server.restart(options)
    ended = await mcp.run(answer(call("act")), LAST, definitions=definitions)
    assert ended.phase == "FAILED TOOL_CHANGED"
    assert "fx/describe" in ended.execution.status.failure.message
    assert [kind for _, kind, _ in await ended.scheduled()] == ["list_mcp_tools"]
    assert server.calls == []


@TWO_TRANSPORTS
async def test_further_tools_change_nothing(mcp: McpAgents, server: McpServer) -> None:
    definitions = await mcp.list()
    await server.restart("more")
    ended = await mcp.run(answer(call("act", value="a")), LAST, definitions=definitions)
    assert (ended.phase, ended.outcomes) == ("COMPLETED", ["OK"])


@TWO_TRANSPORTS
async def test_a_tool_that_is_not_used_may_change(mcp: McpAgents, server: McpServer) -> None:
    entries = [McpTool(server="fx", tools=["act"])]
    definitions = await mcp.list(*entries)
    await server.restart("changed")
    ended = await mcp.run(
        answer(call("act", value="a"), call("describe", city="Rome")),
        LAST,
        definitions=definitions,
        entries=entries,
    )
    assert (ended.phase, ended.outcomes) == ("COMPLETED", ["OK", "REFUSED"])


@pytest.mark.tools_contract("MCP: a server that is away ends it before any model call")
@pytest.mark.parametrize("server", ["http", "stdio"], indirect=True)
async def test_a_server_that_is_away_ends_an_execution(
    mcp: McpAgents, server: McpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma.contracts.limits.MCP_AWAY_TIMEOUT", LONGER_THAN_A_HEARTBEAT)
    definitions = await mcp.list()
    await server.restart("hanging")
    ended = await mcp.run(answer(call("act")), LAST, definitions=definitions)
    assert ended.phase == "FAILED TOOL_UNAVAILABLE"
    assert "did not list its tools in time" in ended.execution.status.failure.message
    assert [kind for _, kind, _ in await ended.scheduled()] == ["list_mcp_tools"]


@pytest.mark.parametrize("server", ["stdio"], indirect=True)
async def test_a_start_without_definitions_fails(mcp: McpAgents) -> None:
    ended = await mcp.run(answer(call("act")), LAST, definitions=[])
    assert ended.phase == "FAILED TOOL_UNAVAILABLE"
    assert await ended.scheduled() == []
