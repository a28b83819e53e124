"""Agents with tools, from their file to what the commands show of their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from stigma.agent.v1.agent_pb2 import (
    Agent,
    AgentLimits,
    AgentSpec,
    McpTool,
    McpToolDefinition,
    Tool,
    ToolPolicy,
)
from stigma_cli import agent_registry, execution_calls, runs
from stigma_cli.agent_calls import agent_calls
from stigma_cli.errors import Exit
from stigma_cli.progress import print_tasks
from stigma_cli.runs import start
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: clerk}
spec:
  model: scripted:clerk
  limits: {toolCalls: 5}
  tools:
    - name: find
      inputSchema: {type: object, required: [id]}
      activity: {type: Find, taskQueue: QUEUE}
    - name: hold
      activity: {type: Hold, taskQueue: QUEUE}
      policy: {timeout: 90s, retrySafe: true, attempts: 2}
    - name: greet
      workflow: {name: welcomes}
  approval: {rules: [{require: NEVER}]}
  script:
    steps:
      - toolCalls:
          - {name: find, argumentsJson: {id: A-1}}
          - {name: find, argumentsJson: {id: A-2}}
          - {name: find}
      - toolCalls: [{name: hold}]
      - {text: done}
"""
CALLING = """\
document: {dsl: '1.0.3', namespace: test, name: asks, version: '1.0.0'}
do:
  - ask: {call: agent, with: {agent: clerk, message: hi}}
"""


class Tools:
    """Activities of somebody else."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    @activity.defn(name="Find")
    async def find(self, arguments: dict[str, Any]) -> dict[str, str]:
        if arguments["id"] != "A-1":
            raise ApplicationError("no such order", type="NotFound")
        return {"status": "shipped"}

    @activity.defn(name="Hold")
    async def hold(self, _arguments: dict[str, Any]) -> str:
        await self.release.wait()
        return "held"


@pytest.fixture
async def tools(stack: Stack) -> AsyncIterator[Tools]:
    tools = Tools()
    activities = [tools.find, tools.hold]
    async with Worker(stack.client, task_queue=f"{stack.prefix}tools", activities=activities):
        yield tools
        tools.release.set()


def agent_file(directory: Path, queue: str) -> Path:
    file = directory / "clerk.yaml"
    file.write_text(AGENT.replace("QUEUE", queue))
    return file


async def test_a_queue_that_the_operator_does_not_list_is_named(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = agent_file(tmp_path, "elsewhere")
    refused = await stigma("agent", "apply", "-f", file, **env)
    assert refused.exit_code == Exit.USAGE
    problem = "the operator allows tools no such task queue"
    assert refused.stderr.splitlines() == [
        f"error: {file}:10:30: {problem} (/spec/tools/0/activity/taskQueue)",
        f"error: {file}:12:30: {problem} (/spec/tools/1/activity/taskQueue)",
    ]


async def test_calls_are_shown_while_they_run_and_after(
    stigma: Stigma, env: dict[str, str], stack: Stack, tools: Tools, tmp_path: Path
) -> None:
    queue = f"{stack.prefix}tools"
    document = tmp_path / "welcomes.yaml"
    document.write_text(CALLING.replace("asks", "welcomes"))
    await stigma("workflow", "apply", "-f", document, **env)
    applied = await stigma("agent", "apply", "-f", agent_file(tmp_path, queue), **env)
    assert applied.output == "clerk@1 applied\n"
    shown = await stigma("agent", "get", "clerk", **env)
    assert shown.output.splitlines()[2:4] == [
        f"tools:        find (activity Find on {queue}), hold (activity Hold on {queue}; "
        "timeout 1 min 30 s, retrySafe, attempts 2), greet (workflow welcomes)",
        "limits:       toolCalls 5",
    ]
    kept = await stigma("workflow", "delete", "welcomes", **env)
    assert kept.stderr == (
        "error: will not delete all versions of workflow welcomes, which agent clerk uses, "
        "without --yes\n"
    )

    handle = await start(stack.client, "asks", CALLING, None, queue=stack.queues.engine)
    written: list[str] = []
    async with agent_calls(handle, stack.api_address) as agents:
        agents.write = written.append
        outcome = asyncio.ensure_future(handle.result())
        following = asyncio.create_task(print_tasks(handle, outcome, agents))
        await eventually(
            lambda: "  clerk: tool call 2-1 hold" in written, what=lambda: str(written)
        )
        assert not outcome.done()
        tools.release.set()
        await following
    usage = written.pop()
    assert sorted(written) == [
        "  clerk: tool call 1-1 find",
        '  clerk: tool call 1-1 find OK: {"status":"shipped"}',
        "  clerk: tool call 1-2 find",
        "  clerk: tool call 1-2 find ERROR: NotFound: no such order",
        written[0],
        "  clerk: tool call 2-1 hold",
        "  clerk: tool call 2-1 hold OK: held",
    ]
    assert written[0].startswith("  clerk: tool call 1-3 find REFUSED: ")
    assert usage.startswith("  clerk: 3 model calls, 3 tool calls, ")

    of_clerk = ("--filter", 'agent = "clerk"')

    async def listed() -> list[str]:
        return list((await stigma("execution", "list", *of_clerk, **env)).stdout.splitlines()[2:])

    [execution] = await eventually(listed, what="the agent's execution in the list")
    execution_id = execution.split()[0]
    watched = (await stigma("execution", "watch", execution_id, **env)).output
    told = 'model call 1 answered: calls 1-1 find {"id":"A-1"}, 1-2 find {"id":"A-2"}, 1-3 find'
    assert told in watched
    assert 'tool call 1-1 find OK: {"status":"shipped"}' in watched
    assert watched.splitlines()[-1].startswith("usage: 3 model calls, 3 tool calls, ")
    full = (await stigma("execution", "get", execution_id, "--full", **env)).output
    assert "tools:    3 calls\n" in full
    assert 'model calls 1-1 find {"id":"A-1"}\n' in full
    assert "tool call 1-2 find ERROR: NotFound: no such order\n" in full
    timeline = (await stigma("execution", "timeline", execution_id, **env)).output
    assert f"tool call 1-1, find on task queue {queue}  OK" in timeline
    assert f"tool call 1-2, find on task queue {queue}  ERROR, NotFound" in timeline
    assert "tool call 1-3, find  REFUSED" in timeline
    assert "shipped" not in timeline


async def test_a_task_ends_after_the_calls_of_its_agent(
    stack: Stack, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    has_ended = asyncio.Event()

    async def late(*given: Any) -> AsyncIterator[Any]:
        async for event in execution_calls.events(*given):
            if event.HasField("ended"):
                await has_ended.wait()
            yield event

    async def observed(handle: Any) -> Any:
        tasks = await runs.trace(handle)
        if any(task["name"] == "ask" and task["ended"] for task in tasks):
            has_ended.set()
        return tasks

    monkeypatch.setattr("stigma_cli.agent_calls.events", late)
    monkeypatch.setattr("stigma_cli.progress.trace", observed)
    monkeypatch.setattr("stigma_cli.progress.print_line", written.append)
    tools.release.set()
    document = f"{CALLING}  - rest: {{wait: {{seconds: 2}}}}\n"
    handle = await start(stack.client, "asks", document, None, queue=stack.queues.engine)
    async with agent_calls(handle, stack.api_address) as agents:
        agents.write = written.append
        await print_tasks(handle, asyncio.ensure_future(handle.result()), agents)
    usage, ask, rest = [line for line in written if "running" not in line][-3:]
    assert usage.startswith("  clerk: 3 model calls, 3 tool calls, ")
    assert (ask.split()[:2], rest.split()[:2]) == (["ask", "completed"], ["rest", "completed"])


async def test_where_the_api_is_away_a_note_says_so_once(
    stack: Stack, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr("stigma_cli.agent_calls.print_note", notes.append)
    handle = await start(stack.client, "asks", CALLING, None, queue=stack.queues.engine)
    async with agent_calls(handle, "127.0.0.1:1") as agents:
        outcome = asyncio.ensure_future(handle.result())
        following = asyncio.create_task(print_tasks(handle, outcome, agents))
        await eventually(lambda: bool(notes), what="a note")
        tools.release.set()
        await following
    [note] = notes
    assert note.startswith("calls of tools are not shown: ")
    assert await outcome == "done"


def test_an_agent_is_shown_with_the_tools_that_its_mcp_servers_list() -> None:
    policy = ToolPolicy(retry_safe=True)
    policy.timeout.FromSeconds(5)
    given = [
        Tool(mcp=McpTool(server="notes", prefix="n_"), policy=policy),
        Tool(mcp=McpTool(server="time", tools=["now"])),
    ]
    listed = [
        McpToolDefinition(server="notes", name=name, exposed_name=f"n_{name}")
        for name in ("add", "find")
    ]
    limits = AgentLimits(steps=3, cost_usd=0.5)
    agent = Agent(spec=AgentSpec(tools=given, limits=limits), mcp_tools=listed)
    rows = dict(agent_registry.AGENTS.rows(agent))
    assert rows["tools"] == (
        "n_add, n_find (of MCP server notes; timeout 5 s, retrySafe), now (of MCP server time)"
    )
    assert rows["limits"] == "steps 3, costUsd 0.5"
