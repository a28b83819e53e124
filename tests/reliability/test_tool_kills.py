"""SIGKILL at random moments while agents call tools: no effect twice, no answer changed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf import json_format
from temporalio.api.enums.v1 import EventType

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    TOOL_OUTCOME_NOT_RUN,
    TOOL_OUTCOME_OK,
    TOOL_OUTCOME_UNKNOWN,
    AgentExecution,
    ToolResult,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    GetAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts.phases import has_ended
from tests.reliability.tool_service import EFFECTS, QUEUE
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

TOOLS = "tests.reliability.tool_service"
SEED = os.environ.get("STIGMA_TEST_SEED")
AT_A_TIME = 6
BATCHES = (1, 3, 20)
STEPS = 3
KILLS_EACH = 4
MISSED_SECONDS = 2
"""After so many without a heartbeat, a call of tools that are killed is lost."""
LONGEST_PAUSE_SECONDS = 1.2
WITHIN = timedelta(seconds=120)

T = TypeVar("T")


@dataclass
class ToolSite:
    """Services, a worker of tools, and its effects."""

    stack: Stack
    effects: Path

    def agent(self, batch: int, missed_after: int = 60) -> AgentSpec:
        """An agent that calls so many tools in each of its steps.

        ``missed_after`` is the tools' heartbeat timeout in seconds: with a short one, a call of a
        worker that is only late is lost as well.
        """
        calls = [
            {
                "name": "act",
                "argumentsJson": json.dumps({"seconds": 0.3 + 0.1 * (n % 3), "value": f"v{n}"}),
                "id": "call_0",
            }
            for n in range(batch)
        ]
        tool = {
            "name": "act",
            "activity": {"type": "act", "taskQueue": self.stack.prefix + QUEUE},
            "policy": {
                "heartbeatTimeout": f"{missed_after}s",
                "startTimeout": "30s",
                "timeout": "60s",
            },
        }
        steps: list[dict[str, Any]] = [{"toolCalls": calls}] * STEPS
        spec = {
            "model": "scripted:tools",
            "tools": [tool],
            "approval": {"rules": [{"require": "APPROVAL_REQUIREMENT_NEVER"}]},
            "limits": {"toolCalls": STEPS * batch, "steps": STEPS + 1},
            "script": {"steps": [*steps, {"text": "{results}"}]},
        }
        return json_format.ParseDict(spec, AgentSpec())

    async def run_agent(self, agent: AgentSpec) -> AgentExecution:
        """Run an agent to its end, whatever is killed meanwhile."""
        request = StartAgentRequest(spec=agent, request_id=uuid.uuid4().hex)
        started = await answered(lambda: self.stack.executions.StartAgent(request))
        get = GetAgentExecutionRequest(id=started.id, view=AGENT_EXECUTION_VIEW_FULL)

        async def ended() -> AgentExecution | None:
            found = await self.stack.executions.GetAgentExecution(get)
            return found if has_ended(found) and found.status.messages else None

        return await answered(ended)

    def counted(self) -> Counter[str]:
        """Return how often each call had its effect, by its key."""
        return Counter(self.effects.read_text(encoding="utf-8").split())

    async def next_effect(self) -> None:
        """Wait until one more call has begun."""
        size = self.effects.stat().st_size
        await eventually(lambda: self.effects.stat().st_size > size, what="an effect")

    async def scheduled(self, execution_id: str) -> Counter[str]:
        """Return how often each activity was scheduled, by its id."""
        handle = self.stack.client.get_workflow_handle(execution_id)
        return Counter(
            [
                event.activity_task_scheduled_event_attributes.activity_id
                async for event in handle.fetch_history_events()
                if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
            ]
        )


@pytest.fixture(scope="module")
async def tool_site(
    new_stack: StartStack, temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolSite]:
    effects = tmp_path_factory.mktemp("tools") / "effects.txt"
    effects.touch()
    stack = await new_stack(
        temporal_server.address,
        services=("stigma_orchestrator", "ai_worker", "stigma_api", TOOLS),
        environment={
            "stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "*"},
            TOOLS: {EFFECTS: str(effects)},
        },
    )
    yield ToolSite(stack, effects)
    await stack.stop()


@pytest.mark.tools_contract("kills of our services change no answer")
@pytest.mark.timeout(300)
async def test_kills_of_ours_change_no_answer(tool_site: ToolSite) -> None:
    """The tools' worker lives: every call has its one effect and its result."""
    ended = await agents_under_kills(
        tool_site, ("stigma_orchestrator", "ai_worker", "stigma_api"), tool_site.agent
    )
    effects = tool_site.counted()
    for execution in ended:
        batch = execution.status.usage.tool_calls // STEPS
        assert execution.status.output.text == "\n".join(f"v{n}" for n in range(batch))
        results = results_of(execution)
        assert {result.outcome for result in results} == {TOOL_OUTCOME_OK}
        assert len(results) == STEPS * batch
        assert all(effects[f"{execution.id}/{result.call_id}"] == 1 for result in results)


@pytest.mark.tools_contract("kills of the tools double no effect")
@pytest.mark.timeout(300)
async def test_kills_of_the_tools_double_no_effect(tool_site: ToolSite) -> None:
    """A call that was lost is told as UNKNOWN, or NOT_RUN where it has not happened."""
    agent = partial(tool_site.agent, missed_after=MISSED_SECONDS)
    ended = await agents_under_kills(tool_site, (TOOLS, "stigma_orchestrator", TOOLS), agent)
    effects = tool_site.counted()
    expected = {TOOL_OUTCOME_OK: {1}, TOOL_OUTCOME_UNKNOWN: {0, 1}, TOOL_OUTCOME_NOT_RUN: {0}}
    outcomes: Counter[int] = Counter()
    for execution in ended:
        for result in results_of(execution):
            outcomes[result.outcome] += 1
            assert effects[f"{execution.id}/{result.call_id}"] in expected[result.outcome]
    sys.stdout.write(f"outcomes: {dict(outcomes)}\n")
    assert outcomes[TOOL_OUTCOME_UNKNOWN]


async def test_no_log_has_what_a_tool_was_told_or_told(tool_site: ToolSite) -> None:
    secret = "secret-4711-of-a-tool"
    agent = tool_site.agent(1)
    agent.instructions = secret
    first, second, third, _ = agent.script.steps
    first.tool_calls[0].arguments_json = json.dumps({"seconds": 0, "value": secret})
    second.tool_calls[0].arguments_json = secret
    third.tool_calls[0].name = secret
    ended = await tool_site.run_agent(agent)
    results = [result.content for result in results_of(ended)]
    assert results[0] == secret
    assert "not JSON" in results[1]
    assert secret in results[2]
    for service in ("stigma_orchestrator", "ai_worker", "stigma_api"):
        assert secret.encode() not in tool_site.stack.process(service).log.raw()


async def answered(call: Callable[[], Awaitable[T | None]]) -> T:
    """Return what a call of the API answers, once there is an API and an answer."""

    async def tried() -> T | None:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
                raise
            return None

    return await eventually(tried, within=WITHIN, what="an answer")


async def agents_under_kills(
    site: ToolSite, services: tuple[str, ...], agent: Callable[[int], AgentSpec]
) -> list[AgentExecution]:
    """Run agents of every batch size until all kills are done; check what always holds."""
    seed = int(SEED) if SEED else random.randrange(2**32)
    sys.stdout.write(f"STIGMA_TEST_SEED={seed} repeats these choices\n")
    rng = random.Random(seed)
    killing = asyncio.create_task(kill_in_turn(site, services, random.Random(seed)))
    ended: list[AgentExecution] = []

    async def keep_running() -> None:
        while not killing.done():
            ended.append(await site.run_agent(agent(rng.choice(BATCHES))))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(keep_running())
    await killing
    effects = site.counted()
    for execution in ended:
        assert execution.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
        assert execution.status.steps == STEPS + 1
        scheduled = await site.scheduled(execution.id)
        assert set(scheduled.values()) == {1}
        assert len(scheduled) == STEPS + 1 + execution.status.usage.tool_calls
    doubled = {key: count for key, count in effects.items() if count > 1}
    sys.stdout.write(
        f"{len(ended)} executions, {sum(effects.values())} effects, "
        f"{KILLS_EACH * len(services)} kills, {len(doubled)} effects doubled\n"
    )
    assert not doubled
    return ended


async def kill_in_turn(site: ToolSite, services: tuple[str, ...], rng: random.Random) -> None:
    """Kill each service some times, in any order, and start it again at once."""
    order = list(services) * KILLS_EACH
    rng.shuffle(order)
    for service in order:
        await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE_SECONDS))  # any moment, not one
        if service == TOOLS:
            await site.next_effect()  # so that a call is under way, whose end nobody learns
        await site.stack.kill(service)
        await site.stack.start(service)


def results_of(execution: AgentExecution) -> list[ToolResult]:
    """Return the results that the model was told."""
    return [
        part.tool_result
        for message in execution.status.messages
        for part in message.parts
        if part.HasField("tool_result")
    ]
