"""The conversation that a session carries, and how it is kept small."""

from __future__ import annotations

import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_MODEL,
    ROLE_USER,
    Message,
    Part,
    ToolCall,
    ToolResult,
)
from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_CLEAR_RESULTS,
    CONTEXT_STRATEGY_DROP,
    CONTEXT_STRATEGY_FAIL,
    CONTEXT_STRATEGY_UNSPECIFIED,
    ContextPolicy,
    ContextStrategy,
)
from stigma.contracts import ids, limits, payloads, session_conversation
from stigma.internal.v1.session_pb2 import (
    SessionCompaction,
    SessionConversation,
    SessionTurn,
    SessionWorkflowInput,
)


def turn(number: int, size: int, *, result: int = 0) -> SessionTurn:
    """A turn of so many bytes, and of a tool's result."""
    said = [Message(role=ROLE_USER, parts=[Part(text=f"task {number}")])]
    if result:
        call = ToolCall(call_id="1-1", name="look", arguments_json="{}")
        found = ToolResult(call_id="1-1", name="look", content="r" * result)
        said.append(Message(role=ROLE_MODEL, parts=[Part(tool_call=call)]))
        said.append(Message(role=ROLE_USER, parts=[Part(tool_result=found)]))
    said.append(Message(role=ROLE_MODEL, parts=[Part(text="x" * size)]))
    return session_conversation.new_turn(f"agent-{number}", said)


def after(
    turns: list[SessionTurn],
    max_bytes: int,
    strategy: ContextStrategy.ValueType = CONTEXT_STRATEGY_UNSPECIFIED,
) -> SessionConversation | None:
    """The conversation after turns, one after another."""
    kept: SessionConversation | None = SessionConversation()
    for each in turns:
        policy = ContextPolicy(strategy=strategy, keep_steps=1)
        assert kept is not None
        kept = session_conversation.with_turn(kept, each, SessionCompaction(), policy, max_bytes)
    return kept


def names(kept: SessionConversation | None) -> list[str]:
    assert kept is not None
    return [each.execution_id for each in kept.turns]


def test_a_thousand_turns_are_carried_in_less_than_a_payload() -> None:
    kept = SessionConversation()
    largest = shrunk = 0
    for number in range(1000):
        added = turn(number, 4096)
        result = session_conversation.with_turn(kept, added, SessionCompaction(), ContextPolicy())
        assert result is not None
        shrunk += result.dropped_turns > kept.dropped_turns
        kept = result
        largest = max(largest, session_conversation.size(kept))
    size = payloads.json_size(SessionWorkflowInput(conversation=kept))
    assert largest <= limits.MAX_SESSION_BYTES
    assert size < limits.MAX_TEMPORAL_PAYLOAD_BYTES < 3_000_000
    # What its turns add up to is more than twice as much.
    assert kept.dropped_turns + len(kept.turns) == 1000
    assert kept.dropped_turns > 500
    assert kept.turns[-1].execution_id == "agent-999"
    # The oldest go in bulk: what a provider has in its cache stays for a while.
    assert shrunk < 10


def test_what_is_dropped_is_said_to_the_model() -> None:
    kept = after([turn(number, 1000) for number in range(4)], 3500, CONTEXT_STRATEGY_DROP)
    assert names(kept) == ["agent-2", "agent-3"]
    assert kept is not None
    first = next(session_conversation.messages(kept))
    assert first.parts[0].text == "[The first 2 turns of this conversation were dropped.]"


def test_results_of_old_turns_are_cleared_first() -> None:
    kept = after([turn(0, 10, result=2000), turn(1, 10, result=2000)], 3500)
    assert names(kept) == ["agent-0", "agent-1"]
    assert kept is not None
    results = [
        part.tool_result.content
        for message in session_conversation.messages(kept)
        for part in message.parts
        if part.HasField("tool_result")
    ]
    assert results == ["[result cleared, 2000 bytes]", "r" * 2000]


@pytest.mark.parametrize("strategy", [CONTEXT_STRATEGY_FAIL, CONTEXT_STRATEGY_CLEAR_RESULTS])
def test_an_agent_may_not_want_turns_dropped(strategy: ContextStrategy.ValueType) -> None:
    assert after([turn(number, 1000) for number in range(4)], 3500, strategy) is None


def test_a_turn_that_is_too_large_alone_ends_what_was_said() -> None:
    kept = after([turn(0, 10), turn(1, 5000)], 3500)
    assert names(kept) == []
    assert kept is not None
    assert kept.dropped_turns == 2


def test_one_turn_may_take_all_the_room() -> None:
    assert names(after([turn(0, 1000), turn(1, 3000)], 3500)) == ["agent-1"]


def test_how_a_conversation_was_made_smaller_for_a_model_stays() -> None:
    kept = after([turn(number, 10, result=500) for number in range(3)], 10**6)
    assert kept is not None
    compaction = SessionCompaction(dropped_turns=1, cleared_turns=2)
    shown = list(session_conversation.messages(kept, compaction))
    kept = session_conversation.with_turn(kept, turn(3, 10), compaction, ContextPolicy())
    assert kept is not None
    assert list(session_conversation.messages(kept))[: len(shown)] == shown
    assert names(kept) == ["agent-1", "agent-2", "agent-3"]


def test_the_session_of_a_principal_is_no_other_ones() -> None:
    found = {
        ids.session_workflow_id(*each)
        for each in (
            ("a", "n", "s"),
            ("b", "n", "s"),
            ("a", "m", "s"),
            ("a", "n", "t"),
            ("an", "", "s"),
        )
    }
    assert len(found) == 5
