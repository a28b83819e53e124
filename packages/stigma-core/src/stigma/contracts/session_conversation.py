"""The conversation of a session: how turns are added to it, and what a model is sent of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_CLEAR_RESULTS,
    CONTEXT_STRATEGY_FAIL,
    ContextPolicy,
)
from stigma.contracts import limits, payloads
from stigma.contracts.compaction import without_results
from stigma.internal.v1.session_pb2 import SessionCompaction, SessionConversation, SessionTurn


def new_turn(execution_id: str, messages: Iterable[Message]) -> SessionTurn:
    """Return a turn with the messages that it adds."""
    turn = SessionTurn(execution_id=execution_id, messages=messages)
    turn.json_bytes = payloads.json_size(turn)
    return turn


def size(conversation: SessionConversation) -> int:
    """Return the bytes of a conversation as JSON, roughly."""
    return sum(turn.json_bytes for turn in conversation.turns)


def messages(
    conversation: SessionConversation, compaction: SessionCompaction | None = None
) -> Iterator[Message]:
    """Yield the messages of a conversation as a model is sent them.

    Args:
        conversation: the conversation.
        compaction: how it is made smaller.
    """
    compaction = compaction or SessionCompaction()
    if dropped := conversation.dropped_turns + compaction.dropped_turns:
        text = f"[The first {dropped} turns of this conversation were dropped.]"
        yield Message(role=ROLE_USER, parts=[Part(text=text)])
    for index, turn in enumerate(conversation.turns):
        if index >= compaction.dropped_turns:
            is_cleared = index < compaction.cleared_turns
            yield from map(without_results, turn.messages) if is_cleared else turn.messages


def can_be_cleared(turn: SessionTurn) -> bool:
    """Return whether a turn has results of tools that a note of their size would make smaller."""
    return any(without_results(message) != message for message in turn.messages)


def with_turn(
    conversation: SessionConversation,
    turn: SessionTurn,
    compaction: SessionCompaction,
    policy: ContextPolicy,
    max_bytes: int = limits.MAX_SESSION_BYTES,
) -> SessionConversation | None:
    """Return a conversation with one more turn, made smaller where it has become too large.

    Args:
        conversation: what was said before the turn.
        turn: what is added.
        compaction: how the conversation was made smaller for the turn's model: it stays so.
        policy: of the turn's agent. Where it says nothing, old turns are dropped: a session that
            fails for its size could never go on.
        max_bytes: the most that is carried.

    Returns:
        None where it is too large, and the policy leaves nothing that may be done about it.
    """
    turns = _compacted(conversation.turns, compaction)
    dropped = conversation.dropped_turns + compaction.dropped_turns
    turns.append(turn)
    if _size(turns) > max_bytes:
        if policy.strategy == CONTEXT_STRATEGY_FAIL:
            return None
        turns = _cleared(turns, max_bytes, policy.keep_steps or limits.DEFAULT_KEEP_STEPS)
        if _size(turns) > max_bytes:
            if policy.strategy == CONTEXT_STRATEGY_CLEAR_RESULTS:
                return None
            before = len(turns)
            turns = _dropped(turns, max_bytes)
            dropped += before - len(turns)
    return SessionConversation(turns=turns, dropped_turns=dropped, tokens=conversation.tokens)


def _compacted(turns: Iterable[SessionTurn], compaction: SessionCompaction) -> list[SessionTurn]:
    return [
        _without_results(turn) if index < compaction.cleared_turns else turn
        for index, turn in enumerate(turns)
        if index >= compaction.dropped_turns
    ]


def _cleared(turns: list[SessionTurn], max_bytes: int, keep: int) -> list[SessionTurn]:
    """Return turns without results of tools: of the last `keep` only where it has to be."""
    old = max(len(turns) - keep, 0)
    turns = [*map(_without_results, turns[:old]), *turns[old:]]
    return turns if _size(turns) <= max_bytes else [*map(_without_results, turns)]


def _dropped(turns: list[SessionTurn], max_bytes: int) -> list[SessionTurn]:
    """Return the last turns, as many as leave some room for those to come."""
    wanted = max_bytes * limits.SHRUNK_SESSION_BYTES // limits.MAX_SESSION_BYTES
    room, first = wanted, len(turns)
    while first > 0 and turns[first - 1].json_bytes <= room:
        first -= 1
        room -= turns[first].json_bytes
    # The last one may have all the room that there is.
    only_last_fits = first == len(turns) and turns[-1].json_bytes <= max_bytes
    return turns[-1:] if only_last_fits else turns[first:]


def _without_results(turn: SessionTurn) -> SessionTurn:
    if not can_be_cleared(turn):
        return turn
    return new_turn(turn.execution_id, map(without_results, turn.messages))


def _size(turns: Iterable[SessionTurn]) -> int:
    return sum(turn.json_bytes for turn in turns)
