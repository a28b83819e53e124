"""Conversations that are too long for the model are made smaller, on the real server."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from services.stigma_orchestrator.tests.tool_agents import Ended, ToolAgents, answer, call
from stigma.agent.v1.agent_execution_pb2 import Message
from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_CLEAR_RESULTS,
    CONTEXT_STRATEGY_DROP,
    CONTEXT_STRATEGY_FAIL,
    CONTEXT_STRATEGY_SUMMARIZE,
    FAILURE_REASON_CONTEXT_LENGTH,
    ContextPolicy,
    ScriptFailure,
    ScriptStep,
    ScriptUsage,
)

LARGE = ScriptUsage(input_tokens=1000)
SMALL = ScriptUsage(input_tokens=10)


def step(value: str, usage: ScriptUsage = LARGE) -> ScriptStep:
    """A step with one call, whose result is as long as its value."""
    return answer(call(value=value), text=f"step {value[0]}", usage=usage)


def told(agents: ToolAgents, ended: Ended, number: int) -> list[Message]:
    """The conversation of a model call."""
    return agents.model.conversations[ended.handle.id, number]


def results(conversation: list[Message]) -> list[str]:
    """The results in a conversation, each by its first letters."""
    return [
        part.tool_result.content[:15]
        for message in conversation
        for part in message.parts
        if part.HasField("tool_result")
    ]


@pytest.mark.tools_contract("a conversation is made smaller for its model")
async def test_old_results_are_cleared(agents: ToolAgents) -> None:
    policy = ContextPolicy(max_tokens=900, strategy=CONTEXT_STRATEGY_CLEAR_RESULTS, keep_steps=1)
    async with agents.tools_running():
        ended = await agents.run(
            step("a" * 100),
            step("b" * 100, SMALL),
            step("c" * 100),
            answer(text="done"),
            context=policy,
        )
    assert ended.text == "done"
    assert results(told(agents, ended, 2)) == ["a" * 15]  # nothing is old yet
    assert results(told(agents, ended, 3)) == ["a" * 15, "b" * 15]
    assert results(told(agents, ended, 4)) == ["[result cleared", "[result cleared", "c" * 15]
    # History, and the view of it, have all.
    assert [result.content[0] for result in ended.results] == ["a", "b", "c"]


@pytest.mark.tools_contract("a conversation is made smaller for its model")
async def test_old_steps_are_dropped_where_clearing_is_not_enough(agents: ToolAgents) -> None:
    policy = ContextPolicy(max_tokens=900, strategy=CONTEXT_STRATEGY_DROP, keep_steps=1)
    async with agents.tools_running():
        ended = await agents.run(
            *(step(letter * 100) for letter in "abcde"), answer(text="done"), context=policy
        )
    last = told(agents, ended, 6)
    assert last[0].parts[0].text == "Help me."
    assert "steps of this conversation were dropped" in last[1].parts[0].text
    assert results(last)[-1] == "e" * 15
    assert "a" * 15 not in results(last)


@pytest.mark.tools_contract("a conversation is made smaller for its model")
async def test_an_agent_may_fail_instead(agents: ToolAgents) -> None:
    policy = ContextPolicy(max_tokens=900, strategy=CONTEXT_STRATEGY_FAIL)
    async with agents.tools_running():
        ended = await agents.run(step("a"), answer(text="done"), context=policy)
    assert ended.phase == "FAILED CONTEXT_LENGTH"
    assert ended.execution.status.failure.message == (
        "the last model call had 1000 tokens, the limit is 900"
    )


@pytest.mark.tools_contract("a conversation is made smaller for its model")
@pytest.mark.parametrize("strategy", [CONTEXT_STRATEGY_DROP, CONTEXT_STRATEGY_FAIL])
async def test_a_provider_that_refuses_the_length_is_asked_again(
    agents: ToolAgents, strategy: int
) -> None:
    too_long = ScriptFailure(reason=FAILURE_REASON_CONTEXT_LENGTH, min_bytes=4_500)
    steps = [step(letter * 900, SMALL) for letter in "abc"]
    last = answer(text="done", failure=too_long)
    policy = ContextPolicy(keep_steps=1)
    policy.strategy = strategy  # type: ignore[assignment]
    async with agents.tools_running():
        ended = await agents.run(*steps, last, context=policy)
    if strategy == CONTEXT_STRATEGY_FAIL:
        assert ended.phase == "FAILED CONTEXT_LENGTH"
        return
    assert ended.text == "done"
    assert results(told(agents, ended, 4)) == ["[result cleared", "[result cleared", "c" * 15]


@pytest.mark.tools_contract("a conversation is made smaller for its model")
@settings(max_examples=9, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batches=strategies.lists(strategies.integers(1, 3), min_size=3, max_size=9),
    sizes=strategies.lists(strategies.sampled_from([SMALL, LARGE]), min_size=9, max_size=9),
    keep=strategies.integers(1, 3),
    strategy=strategies.sampled_from(
        [CONTEXT_STRATEGY_CLEAR_RESULTS, CONTEXT_STRATEGY_DROP, CONTEXT_STRATEGY_SUMMARIZE]
    ),
)
async def test_calls_and_results_stay_or_go_together(
    agents: ToolAgents, batches: list[int], sizes: list[ScriptUsage], keep: int, strategy: int
) -> None:
    steps = [
        answer(*[call(value="x" * 60)] * count, usage=usage)
        for count, usage in zip(batches, sizes, strict=False)
    ]
    policy = ContextPolicy(max_tokens=500, keep_steps=keep)
    policy.strategy = strategy  # type: ignore[assignment]
    async with agents.tools_running():
        ended = await agents.run(*steps, answer(text="done"), context=policy)
    assert ended.text == "done"
    previous: list[Message] = []
    for number in range(1, len(steps) + 2):
        conversation = told(agents, ended, number)
        calls = [
            p.tool_call.call_id for m in conversation for p in m.parts if p.HasField("tool_call")
        ]
        answered = [
            p.tool_result.call_id
            for m in conversation
            for p in m.parts
            if p.HasField("tool_result")
        ]
        assert calls == answered
        kept = [f"{step}-" for step in range(max(1, number - keep), number)]
        assert all(any(each.startswith(prefix) for each in calls) for prefix in kept)
        # Between two compactions the earlier messages stay byte for byte.
        if number > 1 and sizes[number - 2] is SMALL:
            assert conversation[: len(previous)] == previous
        previous = conversation
