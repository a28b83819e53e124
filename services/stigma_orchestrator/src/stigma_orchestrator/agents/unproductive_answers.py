"""Answers of a model that lead nowhere: too many in a row end an agent's execution."""

from __future__ import annotations

from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import conversation, limits
from stigma.internal.v1.execution_pb2 import CarriedState
from stigma_orchestrator.agents.step import AgentFailedError, model_call_name
from stigma_orchestrator.agents.turns import Turn


class UnproductiveAnswers:
    """Counts them, over all runs of an execution."""

    def __init__(self, carried: CarriedState) -> None:
        self._refused_answers = carried.refused_answers
        """In a row whose calls were all refused."""
        self._refused_outputs = carried.refused_outputs
        """In a row whose output was not valid."""

    def carry(self, state: CarriedState) -> None:
        """Write the counts for the next run."""
        state.refused_answers = self._refused_answers
        state.refused_outputs = self._refused_outputs

    def count(self, turn: Turn) -> None:
        """Count a turn whose calls have all ended.

        Raises:
            AgentFailedError: there were too many in a row.
        """
        self._count_refused_answers(turn)
        self._count_refused_outputs(turn)

    def _count_refused_answers(self, turn: Turn) -> None:
        answer = turn.answer
        only_refused = bool(answer.refused) and not turn.results and not answer.output_call_id
        self._refused_answers = self._refused_answers + 1 if only_refused else 0
        if self._refused_answers >= limits.MAX_REFUSED_ANSWERS:
            raise AgentFailedError(
                FailureReason.FAILURE_REASON_INVALID_REQUEST,
                f"{self._refused_answers} answers in a row called tools that do not exist, or with "
                "arguments that the tools do not take",
                step=model_call_name(turn.step),
            )

    def _count_refused_outputs(self, turn: Turn) -> None:
        answer = turn.answer
        has_output = bool(answer.output_call_id or answer.output_error)
        if not has_output or conversation.output_accepted(answer, turn.results):
            self._refused_outputs = 0
            return
        self._refused_outputs += 1
        if self._refused_outputs > limits.OUTPUT_RETRIES:
            problem = answer.output_error or "other calls of the same answer did not succeed"
            raise AgentFailedError(
                FailureReason.FAILURE_REASON_INVALID_OUTPUT,
                f"no valid output in {self._refused_outputs} answers in a row: {problem}",
                step=model_call_name(turn.step),
            )
