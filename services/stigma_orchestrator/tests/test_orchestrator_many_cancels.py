"""Hundreds of agents cancelled amid an answer: what they used is kept, connections are not."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from ai_worker.models.http_provider import HttpProvider
from ai_worker.models.provider import Provider
from services.ai_worker.tests.conftest import ModelServer
from services.stigma_orchestrator.tests.tool_agents import Ended, ToolAgents, tool
from tests.stack.waiting import eventually

COUNT = 500
LONG = timedelta(minutes=10)
EVENTS_SENT = 3
ARGUMENTS = {"how": "stuck", "value": "x"}


def openai_answer() -> dict[str, Any]:
    called = {"name": "act", "arguments": json.dumps(ARGUMENTS)}
    call = {"id": "c", "type": "function", "function": called}
    message = {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    return head | {"choices": [choice], "usage": usage}


def anthropic_answer() -> dict[str, Any]:
    call = {"type": "tool_use", "id": "c", "name": "act", "input": ARGUMENTS}
    content = [{"type": "text", "text": "I look."}, call]
    usage = {"input_tokens": 1000, "output_tokens": 200}
    head = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5"}
    end = {"stop_reason": "tool_use", "stop_sequence": None, "usage": usage}
    return head | {"content": content} | end


@pytest.fixture
async def servers() -> AsyncIterator[list[ModelServer]]:
    """A server of each kind of provider, which asks for a call of a tool."""
    servers = [ModelServer(), ModelServer()]
    for server in servers:
        await server.start()
    yield servers
    for server in servers:
        await server.stop()


@pytest.fixture
async def providers(servers: list[ModelServer]) -> AsyncIterator[Sequence[Provider]]:
    own = [HttpProvider(each, COUNT) for each in (servers[0].openai(), servers[1].anthropic())]
    yield own
    for provider in own:
        await provider.close()


@pytest.mark.soak
async def test_many_cancels_keep_the_usage_and_no_connection(
    running_agents: ToolAgents, servers: list[ModelServer]
) -> None:
    agents, answers = running_agents, (openai_answer(), anthropic_answer())
    for server, answer in zip(servers, answers, strict=True):
        server.reply(answer)
    async with agents.tools_running(max_concurrent_activities=COUNT):
        await asyncio.gather(*(start(agents, n) for n in range(COUNT)))
        await eventually(lambda: reached(len(agents.effects.calls)), what="calls", within=LONG)
        # From now on each answer stops in its midst.
        for server, answer in zip(servers, answers, strict=True):
            server.forget_replies()
            server.reply(answer, stall=EVENTS_SENT)
            server.requests.clear()
        agents.effects.released.set()
        waiting = [servers[0].requests, servers[1].requests]
        await eventually(lambda: reached(sum(map(len, waiting))), what="calls", within=LONG)
        began = time.monotonic()
        await asyncio.gather(*(handle.cancel() for handle in agents.started))
        ended = await asyncio.gather(*map(agents.ended, agents.started))
        seconds = time.monotonic() - began
        await eventually(lambda: idle(servers), what="closed connections", within=LONG)
        closed = time.monotonic() - began
    assert Counter(map(used, ended)) == {("CANCELLED CANCELLED", 1000, 200, 1, 1): COUNT}
    sys.stdout.write(
        f"{COUNT} agents cancelled in mid-call: all ended after {seconds:.1f} s, with their usage;"
        f" no connection after {closed:.1f} s\n"
    )
    # Nothing is held: both providers can be called as before.
    for server, answer in zip(servers, answers, strict=True):
        server.forget_replies()
        server.reply(answer)
    agents.started.clear()
    agents.effects.calls.clear()
    async with agents.tools_running():
        await asyncio.gather(*(start(agents, n) for n in range(2)))
        await eventually(lambda: reached(len(agents.effects.calls), 2), what="calls", within=LONG)
    for handle in agents.started:
        await handle.terminate()


async def start(agents: ToolAgents, number: int) -> None:
    waits = {"timeout": 900, "start_timeout": 900}
    agent = agents.agent([], tool(input_schema='{"type": "object"}', policy=waits))
    agent.model = ("local:gpt-4o", "claude:claude-sonnet-5")[number % 2]
    agent.ClearField("script")
    await agents.start(agent, timeout=900)


def reached(count: int, least: int = COUNT) -> bool:
    return count >= least


def idle(servers: list[ModelServer]) -> bool:
    return not sum(server.connections for server in servers)


def used(ended: Ended) -> tuple[str, int, int, int, int]:
    usage = ended.execution.status.usage
    counts = (usage.input_tokens, usage.output_tokens, usage.model_calls, usage.tool_calls)
    return ended.phase, *counts
