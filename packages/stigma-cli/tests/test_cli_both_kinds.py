"""`stigma execution list` of agents and workflows that were started by turns."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, Script, ScriptStep
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: turns, version: '1.0.0'}
do:
  - TASK
"""
OPEN, CLOSED = "pause: {wait: {hours: 1}}", "answer: {set: {a: 1}}"


class Turns:
    """Starts executions of both kinds, which a label groups."""

    def __init__(self, stack: Stack, stigma: Stigma, env: dict[str, str]) -> None:
        self._stack = stack
        self._workflows = WorkflowExecutionServiceStub(stack.channel)
        self._stigma = stigma
        self._env = env
        self._labels = {"turns": uuid.uuid4().hex[:8]}

    async def agent(self, *, is_open: bool) -> str:
        name = f"turns-{'open' if is_open else 'closed'}"
        step = ScriptStep(text="done", pause=False)
        if is_open:
            step.delay.FromSeconds(600)
        spec = AgentSpec(model="scripted:test", script=Script(steps=[step]))
        await self._stack.agents.ApplyAgent(ApplyAgentRequest(agent=Agent(name=name, spec=spec)))
        request = StartAgentRequest(agent_id=name, message="m", labels=self._labels)
        return str((await self._stack.executions.StartAgent(request)).id)

    async def workflow(self, *, is_open: bool) -> str:
        document = DOCUMENT.replace("TASK", OPEN if is_open else CLOSED)
        spec = WorkflowSpec(document=document)
        request = StartWorkflowRequest(spec=spec, labels=self._labels)
        return str((await self._workflows.StartWorkflow(request)).id)

    async def closed(self, execution_id: str) -> str:
        """Wait for the end of an execution, so that the order of the ends is known."""
        ended = await self._stigma("execution", "watch", execution_id, **self._env)
        assert "COMPLETED" in ended.stdout
        return execution_id

    async def listed(self, *options: str) -> list[str]:
        [(key, value)] = self._labels.items()
        query = f'labels.{key} = "{value}"'
        command = ("execution", "list", "--filter", query, "-o", "json", *options)
        shown: Any = json.loads((await self._stigma(*command, **self._env)).stdout)
        return [each["id"] for each in shown["executions"]]


@pytest.mark.parametrize("page_size", [1, 2, 3])
async def test_no_execution_is_lost_or_doubled_over_small_pages(
    stigma: Stigma,
    env: dict[str, str],
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    page_size: int,
) -> None:
    turns = Turns(stack, stigma, env)
    ended = []
    for _ in range(2):
        ended.append(await turns.closed(await turns.agent(is_open=False)))
        ended.append(await turns.closed(await turns.workflow(is_open=False)))
    started = []
    for _ in range(2):
        started.append(await turns.workflow(is_open=True))
        started.append(await turns.agent(is_open=True))
    newest_first = [*started[::-1], *ended[::-1]]

    async def all_are_there() -> bool:
        return len(await turns.listed()) == len(newest_first)

    await eventually(all_are_there, what="all executions are listed")
    monkeypatch.setattr("stigma_cli.execution_calls.MAX_PAGE_SIZE", page_size)
    assert await turns.listed() == newest_first
    assert await turns.listed("--limit", "5") == newest_first[:5]
    agents, workflows = await turns.listed("--agents"), await turns.listed("--workflows")
    assert agents == [each for each in newest_first if each.startswith("agent-")]
    assert workflows == [each for each in newest_first if each.startswith("workflow-")]
    for each in started:
        await stigma("execution", "cancel", each, **env)
