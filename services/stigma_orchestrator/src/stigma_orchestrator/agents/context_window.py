"""The size of a conversation beside what its model takes, and what is done about it."""

from __future__ import annotations

from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_CLEAR_RESULTS,
    CONTEXT_STRATEGY_DROP,
    CONTEXT_STRATEGY_SUMMARIZE,
    ContextPolicy,
    FailureReason,
)
from stigma.contracts import limits
from stigma.internal.v1.execution_pb2 import Compaction, ConverseResponse
from stigma_orchestrator.agents.session_window import SessionWindow
from stigma_orchestrator.agents.step import AgentFailedError, model_call_name


class ContextWindow:
    """Makes a conversation smaller, as rarely as it can: providers cache what does not change."""

    def __init__(self, policy: ContextPolicy, first_step: int) -> None:
        """Begin with the whole conversation.

        Args:
            policy: of the agent.
            first_step: the first step of this run.
        """
        self.session = SessionWindow(policy)
        """Conversation of the session before this turn, if there is a session."""
        self._policy = policy
        self._first_step = first_step
        self._keep = policy.keep_steps or limits.DEFAULT_KEEP_STEPS
        self.tokens = 0
        """Of the last model call."""
        self._window = 0
        """Of the model, in tokens; 0 where it is not known."""
        self._given_up = 0
        """Steps before this one are dropped without a summary."""
        self._shrunk_for = -1
        """Step of the model call for which the conversation was last made smaller."""
        self.compaction = Compaction()
        """Parts left out of the conversation."""
        self.summary = ""
        """Stands for them, where there is one."""

    def note(self, answer: ConverseResponse) -> None:
        """Note the size of the last model call, and of its model's window."""
        self.tokens = answer.usage.input_tokens + answer.usage.output_tokens
        self._window = answer.context_window

    def prepare(self, step: int) -> bool:
        """Make the conversation smaller before a model call, if it has reached the limit.

        Args:
            step: of the call.

        Returns:
            Whether it was made smaller.

        Raises:
            AgentFailedError: it has, and the agent says to fail then.
        """
        most = self._most
        self.tokens = self.tokens or self.session.tokens
        if not most or self.tokens < most:
            return False
        # Each summary is a model call: not one a step, where what is kept is too much already.
        last = self.compaction.dropped_before if self._summarizes else 0
        if last and step - self._keep - last < self._keep:
            return False
        if self.shrink(step):
            return True
        # A strategy that cannot do more lets the model try: the provider has the last word.
        if not self._may_clear and not self._summarizes:
            message = f"the last model call had {self.tokens} tokens, the limit is {most}"
            name = model_call_name(max(step - 1, 1))
            raise AgentFailedError(FailureReason.FAILURE_REASON_CONTEXT_LENGTH, message, step=name)
        return False

    def shrink(self, step: int) -> bool:
        """Leave more out of the conversation; return whether there is more to leave out.

        What was said in the session before is the oldest, and goes first.
        """
        if self.session.shrink():
            return True
        before, now = step - self._keep, self.compaction
        # The call that the last means was for was too long all the same.
        was_too_little = self._shrunk_for >= step - 1
        may_clear = self._may_clear and before > max(now.cleared_before, 1)
        may_drop = self._policy.strategy == CONTEXT_STRATEGY_DROP
        if self._summarizes:
            # What this run carries from earlier ones is left out as a whole.
            if before <= max(now.dropped_before, self._first_step - 1, 1):
                return False
            now.cleared_before = now.dropped_before = before
        elif may_clear and not was_too_little:
            now.cleared_before = before
        elif may_drop and before > max(now.dropped_before, 1):
            now.cleared_before = now.dropped_before = before
        elif may_clear and before - now.cleared_before >= self._keep:
            now.cleared_before = before
        else:
            return False
        self._shrunk_for = step
        return True

    @property
    def needs_summary(self) -> bool:
        """Whether steps have been left out that no summary stands for, and one has not failed."""
        now = self.compaction
        return self._summarizes and now.dropped_before > max(now.summarized_before, self._given_up)

    def summarized(self, step: int, summary: str) -> None:
        """Note the summary of all that is left out, made for the model call of a step."""
        self.summary = summary
        self.compaction.summary_step = step
        self.compaction.summarized_before = self.compaction.dropped_before

    def not_summarized(self) -> None:
        """Note that there is no summary of what is left out."""
        self._given_up = self.compaction.dropped_before

    @property
    def _most(self) -> int:
        """Tokens at which the conversation is made smaller; 0 is no such number."""
        shrinks = self._may_clear or self._summarizes
        return self._policy.max_tokens or (
            int(limits.CONTEXT_SHARE * self._window) if shrinks else 0
        )

    @property
    def _may_clear(self) -> bool:
        return self._policy.strategy in {CONTEXT_STRATEGY_CLEAR_RESULTS, CONTEXT_STRATEGY_DROP}

    @property
    def _summarizes(self) -> bool:
        return self._policy.strategy == CONTEXT_STRATEGY_SUMMARIZE
