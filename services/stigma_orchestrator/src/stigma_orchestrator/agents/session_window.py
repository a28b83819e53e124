"""The conversation of a session before a turn, made smaller for the turn's model."""

from __future__ import annotations

from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_CLEAR_RESULTS,
    CONTEXT_STRATEGY_FAIL,
    ContextPolicy,
)
from stigma.contracts import limits, session_conversation
from stigma.internal.v1.session_pb2 import SessionCompaction, SessionConversation


class SessionWindow:
    """Makes a session's conversation smaller; where the agent says nothing, it drops old turns."""

    def __init__(self, policy: ContextPolicy) -> None:
        self._policy = policy
        self._keep = policy.keep_steps or limits.DEFAULT_KEEP_STEPS
        self._conversation = SessionConversation()
        self._may_clear = False
        self._may_drop = False
        self.compaction = SessionCompaction()
        """Parts left out of the conversation."""

    @property
    def tokens(self) -> int:
        """Tokens of the last model call of the turn before."""
        return self._conversation.tokens

    def open(
        self, conversation: SessionConversation, compaction: SessionCompaction | None = None
    ) -> None:
        """Begin with what was said, as far as an earlier run of the turn has left it."""
        self._conversation = conversation
        if compaction is not None:
            self.compaction.CopyFrom(compaction)
        strategy = self._policy.strategy
        self._may_clear = strategy != CONTEXT_STRATEGY_FAIL
        self._may_drop = self._may_clear and strategy != CONTEXT_STRATEGY_CLEAR_RESULTS

    def shrink(self) -> bool:
        """Leave more out; return whether there was more to leave out."""
        now, all_of_it = self.compaction, len(self._conversation.turns)
        for before in (max(all_of_it - self._keep, 0), all_of_it):
            if self._may_clear and self._has_results(before):
                now.cleared_turns = before
                return True
            if self._may_drop and before > now.dropped_turns:
                now.dropped_turns = before
                return True
        return False

    def fitting(self, max_bytes: int) -> SessionCompaction:
        """Return a compaction that leaves at most so many bytes, where turns may be dropped."""
        fitting = SessionCompaction()
        fitting.CopyFrom(self.compaction)
        turns = self._conversation.turns
        left = sum(turn.json_bytes for turn in turns[fitting.dropped_turns :])
        while self._may_drop and left > max_bytes and fitting.dropped_turns < len(turns):
            left -= turns[fitting.dropped_turns].json_bytes
            fitting.dropped_turns += 1
        return fitting

    def _has_results(self, before: int) -> bool:
        """Return whether any turn before this one has results that can still be cleared."""
        first = max(self.compaction.cleared_turns, self.compaction.dropped_turns)
        turns = self._conversation.turns[first:before]
        return any(map(session_conversation.can_be_cleared, turns))
