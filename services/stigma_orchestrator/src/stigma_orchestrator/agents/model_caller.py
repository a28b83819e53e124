"""Model calls of an agent with tools, and the summaries that keep them within a model's window."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from stigma.agent.v1.agent_execution_pb2 import Message, ToolResult
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import conversation
from stigma.internal.v1.execution_pb2 import Compaction, ConverseResponse
from stigma_orchestrator.agents.budget import Budget
from stigma_orchestrator.agents.context_window import ContextWindow
from stigma_orchestrator.agents.converse_step import ConverseStep
from stigma_orchestrator.agents.model_step import invalid_output_message
from stigma_orchestrator.agents.step import AgentFailedError, StepContext
from stigma_orchestrator.agents.summary_step import SummaryStep
from stigma_orchestrator.agents.turns import Turn, Turns


class ModelCaller:
    """Calls the model of one execution, within its budget."""

    def __init__(
        self, context: StepContext, turns: Turns, window: ContextWindow, budget: Budget
    ) -> None:
        self._context = context
        self._turns = turns
        self._window = window
        self._budget = budget

    async def ask(
        self, results: Sequence[ToolResult], sent: Sequence[str], *, in_session: bool
    ) -> Turn:
        """Ask for the next turn, which is added to the others.

        Args:
            results: of the turn before that no other event of history holds.
            sent: messages sent to the execution since the turn before.
            in_session: whether the execution is a turn of a session.

        Raises:
            AgentFailedError: the call failed for good, or the answer exceeds a limit.
        """
        model, number = self._context.configuration.model, self._budget.steps + 1
        items = list(self._turns.items())
        before = self._compaction()
        if self._window.prepare(number):
            await self._summarize(number, before)
        call = ConverseStep(
            self._context,
            number,
            items,
            self._budget.tokens_left(),
            results,
            sent,
            self._window.compaction,
            self._window.session.compaction if in_session else None,
        )
        answer = await self._call(call, in_session=in_session)
        self._budget.add_answer(model, answer)
        self._window.note(answer)
        turn = Turn(number, answer, {}, correction(answer), sent)
        self._turns.add(turn)
        self._budget.add_tool_calls(model, len(list(conversation.calls(answer))))
        return turn

    async def _call(self, call: ConverseStep, *, in_session: bool) -> ConverseResponse:
        """Make a call, with a smaller conversation where the provider wants that.

        Once more; in a session for as long as there is something to leave out.
        """
        before = self._compaction()
        for last in repeat(False) if in_session else (False, True):
            try:
                return await call.run()
            except AgentFailedError as error:
                too_long = error.failure.reason == FailureReason.FAILURE_REASON_CONTEXT_LENGTH
                if last or not too_long or not self._window.shrink(call.number):
                    raise
            await self._summarize(call.number, before)
        raise AssertionError("a call returns or raises")

    async def _summarize(self, number: int, before: Compaction) -> None:
        """Have a model summarise what was left out for a model call, if the agent says so.

        Raises:
            AgentFailedError: that has used up a limit.
        """
        if not self._window.needs_summary:
            return
        first = self._window.compaction.dropped_before
        items = self._turns.items(before=first)
        left = self._budget.tokens_left()
        step = SummaryStep(self._context, number, first, items, before, left)
        if (made := await step.run()) is None:
            self._window.not_summarized()
            return
        self._window.summarized(number, made.text)
        self._budget.add_summary(step.model, made.usage)
        self._budget.check()

    def _compaction(self) -> Compaction:
        copied = Compaction()
        copied.CopyFrom(self._window.compaction)
        return copied


def correction(answer: ConverseResponse) -> Message | None:
    """Return the message after an output in words that is not valid; a call has a result."""
    if not answer.output_error or answer.output_call_id:
        return None
    return invalid_output_message(answer)
