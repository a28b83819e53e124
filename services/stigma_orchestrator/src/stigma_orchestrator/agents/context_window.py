"""The size of a conversation beside what its model takes, and what is done about it."""

from __future__ import annotations

from stigma.agent.v1.agent_pb2 import (
    CONTEXT_STRATEGY_CLEAR_RESULTS,
    CONTEXT_STRATEGY_DROP,
    ContextPolicy,
    FailureReason,
)
from stigma.contracts import limits
from stigma.internal.v1.execution_pb2 import Compaction, ConverseResponse
from stigma_orchestrator.agents.step import AgentFailedError, model_call_name


class ContextWindow:
    """Makes a conversation smaller, as rarely as it can: providers cache what does not change."""

    def __init__(self, policy: ContextPolicy) -> None:
        self._policy = policy
        self._keep = policy.keep_steps or limits.DEFAULT_KEEP_STEPS
        self._tokens = 0
        """Of the last model call."""
        self._shrunk_for = -1
        """Step of the model call for which the conversation was last made smaller."""
        self.compaction = Compaction()
        """Parts left out of the conversation."""

    def note(self, answer: ConverseResponse) -> None:
        """Note the size of the last model call."""
        self._tokens = answer.usage.input_tokens + answer.usage.output_tokens

    def prepare(self, step: int) -> None:
        """Make the conversation smaller before a model call, if it has reached the limit.

        Args:
            step: of the call.

        Raises:
            AgentFailedError: it has, and the agent says to fail then.
        """
        most = self._policy.max_tokens
        if not most or self._tokens < most:
            return
        # A strategy that cannot do more lets the model try: the provider has the last word.
        if not self.shrink(step) and not self._may_clear:
            message = f"the last model call had {self._tokens} tokens, the limit is {most}"
            name = model_call_name(step - 1)
            raise AgentFailedError(FailureReason.FAILURE_REASON_CONTEXT_LENGTH, message, step=name)

    def shrink(self, step: int) -> bool:
        """Leave more out of the conversation; return whether there is more to leave out."""
        before, now = step - self._keep, self.compaction
        # The call that the last means was for was too long all the same.
        was_too_little = self._shrunk_for >= step - 1
        may_clear = self._may_clear and before > max(now.cleared_before, 1)
        may_drop = self._policy.strategy == CONTEXT_STRATEGY_DROP
        if may_clear and not was_too_little:
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
    def _may_clear(self) -> bool:
        return self._policy.strategy in {CONTEXT_STRATEGY_CLEAR_RESULTS, CONTEXT_STRATEGY_DROP}
