"""Old steps of a conversation are summarised by a model call, on the real server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.conversations.summary_activity import REQUEST
from ai_worker.models.provider import ModelResult, ToolDefinition
from ai_worker.models.scripted import ScriptedProvider
from services.stigma_orchestrator.tests.test_orchestrator_context import (
    LARGE,
    SMALL,
    results,
    step,
    told,
)
from services.stigma_orchestrator.tests.tool_agents import ToolAgents, answer, call
from stigma.agent.v1.agent_execution_pb2 import Message
from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_DROP,
    CONTEXT_STRATEGY_SUMMARIZE,
    FAILURE_REASON_AUTHENTICATION,
    AgentLimits,
    ContextPolicy,
)
from stigma.internal.v1.execution_pb2 import ModelCallRequest
from tests.stack.waiting import eventually

POLICY = ContextPolicy(max_tokens=900, strategy=CONTEXT_STRATEGY_SUMMARIZE, keep_steps=1)
CONTRACT = "old steps of a conversation are summarised for its model"


class SummarizingModel(ScriptedProvider):
    """A scripted model that keeps what it was asked to summarise, and may fail to."""

    name = "summaries"

    def __init__(self) -> None:
        self.asked: list[list[Message]] = []
        self.tools: list[str] = []
        self.fails = False

    @override
    async def call(
        self, model: str, request: ModelCallRequest, attempt: int, tools: Sequence[ToolDefinition]
    ) -> ModelResult:
        self.asked.append(list(request.messages))
        self.tools = [each.name for each in tools]
        if self.fails:
            raise CallError(FAILURE_REASON_AUTHENTICATION, "the key is wrong")
        return await super().call(model, request, attempt, tools)


@pytest.fixture
def summaries() -> SummarizingModel:
    return SummarizingModel()


@pytest.fixture
def providers(summaries: SummarizingModel) -> Sequence[Any]:
    return (summaries,)


def policy(**fields: Any) -> ContextPolicy:
    """The policy of these tests, with a model of its own for summaries."""
    made = ContextPolicy(summary_model="summaries:short")
    made.MergeFrom(POLICY)
    made.MergeFrom(ContextPolicy(**fields))
    return made


def marker(conversation: list[Message]) -> str:
    """What stands for the steps that were left out."""
    assert conversation[0].parts[0].text == "Help me."
    return conversation[1].parts[0].text


@pytest.mark.tools_contract(CONTRACT)
async def test_a_summary_stands_for_old_steps(
    agents: ToolAgents, summaries: SummarizingModel
) -> None:
    steps = [step(letter * 100) for letter in "ab"] + [step("c" * 100, SMALL), step("d", SMALL)]
    async with agents.tools_running():
        ended = await agents.run(*steps, answer(text="done"), context=policy())
    assert ended.text == "done"
    [asked] = summaries.asked
    assert results(asked) == ["a" * 15]
    assert asked[-1].parts[0].text == REQUEST
    assert summaries.tools == ["act"]
    text = (
        "[Summary of the first 1 steps of this conversation:]\nSummary of 3 messages, up to step 1."
    )
    assert marker(told(agents, ended, 3)) == text
    # What the model is sent stays byte for byte until the next summary, and history has all.
    assert told(agents, ended, 4)[: len(told(agents, ended, 3))] == told(agents, ended, 3)
    assert results(told(agents, ended, 5)) == ["b" * 15, "c" * 15, "d"]
    assert len(ended.results) == 4
    usage = ended.execution.status
    assert (usage.steps, usage.usage.model_calls) == (5, 6)
    assert usage.usage_by_model["summaries:short"].model_calls == 1
    scheduled = await ended.scheduled()
    assert max(size for _, name, size in scheduled if name in {"converse", "summarize"}) < 1000


@pytest.mark.tools_contract(CONTRACT)
async def test_a_later_summary_takes_the_earlier_one_in(
    agents: ToolAgents, summaries: SummarizingModel
) -> None:
    async with agents.tools_running():
        ended = await agents.run(
            *(step(letter * 50) for letter in "abcd"), answer(text="done"), context=policy()
        )
    first, second, _ = summaries.asked
    assert results(first) == ["a" * 15]
    assert marker(second).startswith("[Summary of the first 1 steps")
    assert results(second) == ["b" * 15]
    assert marker(told(agents, ended, 5)).startswith("[Summary of the first 3 steps")
    assert results(told(agents, ended, 5)) == ["d" * 15]


@pytest.mark.tools_contract(CONTRACT)
async def test_without_a_summary_old_steps_are_dropped(
    agents: ToolAgents, summaries: SummarizingModel
) -> None:
    summaries.fails = True
    async with agents.tools_running():
        ended = await agents.run(step("a"), step("b"), answer(text="done"), context=policy())
    assert ended.text == "done"
    assert len(summaries.asked) == 1  # the failure is final
    assert (
        marker(told(agents, ended, 3)) == "[The first 1 steps of this conversation were dropped.]"
    )
    assert results(told(agents, ended, 3)) == ["b"]


async def test_a_summary_counts_against_the_limits(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(
            step("a"),
            step("b"),
            answer(text="done"),
            context=policy(),
            limits=AgentLimits(steps=3),
        )
    assert ended.phase == "FAILED STEP_LIMIT"


async def test_the_models_window_is_the_default_limit(agents: ToolAgents) -> None:
    agents.model.context_window = 1200
    kept = ContextPolicy(strategy=CONTEXT_STRATEGY_DROP, keep_steps=1)
    async with agents.tools_running():
        steps = [step("a" * 100), step("b" * 100), answer(text="done", usage=LARGE)]
        ended = await agents.run(*steps, context=kept)
    # 80 % of 1200 tokens is less than the 1000 of a step.
    assert results(told(agents, ended, 3)) == ["[result cleared", "b" * 15]


async def test_continue_as_new_carries_the_summary(
    agents: ToolAgents, summaries: SummarizingModel
) -> None:
    # Temporal suggests it from 4 MiB of history on.
    steps = [answer(call(how="large", size=1_400_000), usage=LARGE) for _ in range(6)]
    async with agents.tools_running():
        ended = await agents.run(*steps, answer(text="done"), context=policy())
    assert ended.text == "done"
    await eventually(lambda: agents.has_runs(ended.handle.id, 2), what="another run")
    # In the run that goes on, the earlier summary is part of what is carried, and of the next one.
    assert any("[Summary of the first" in marker(asked) for asked in summaries.asked[1:])
    last = told(agents, ended, 7)
    assert marker(last).startswith("[Summary of the first")
    assert len(results(last)) == 2  # a run that has just begun makes nothing smaller
