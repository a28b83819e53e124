"""A summary of old steps of a conversation: one activity of the AI worker, which reads history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from stigma.agent.v1.agent_pb2 import ModelSettings
from stigma.contracts import limits, tools
from stigma.contracts.activities import SummaryActivities
from stigma.internal.v1.execution_pb2 import (
    Compaction,
    ConversationItem,
    SummarizeRequest,
    SummarizeResponse,
)
from stigma_orchestrator.agents.model_step import model_call_failure, model_call_options
from stigma_orchestrator.agents.step import AgentFailedError, StepContext

# A summary that does not come is done without: there is no need to wait long for it.
_RETRY_POLICY = RetryPolicy(maximum_interval=timedelta(seconds=10), maximum_attempts=5)


@dataclass(frozen=True)
class SummaryStep:
    """The summary that a model call needs."""

    context: StepContext
    number: int
    """Of that call."""
    before: int
    """Steps before this one are summarised."""
    items: Iterable[ConversationItem]
    """The steps to summarise."""
    compaction: Compaction
    """Parts left out before."""
    tokens_left: int | None

    @property
    def model(self) -> str:
        """The model that summarises."""
        return self.context.spec.agent.context.summary_model or self.context.configuration.model

    async def run(self) -> SummarizeResponse | None:
        """Have the summary made; return None where that fails for good.

        Raises:
            CancelledError: the agent was stopped.
        """
        settings = ModelSettings()
        settings.request_timeout.FromTimedelta(self.context.configuration.request_timeout)
        most = limits.MAX_SUMMARY_TOKENS
        settings.max_tokens = (
            most if self.tokens_left is None else max(min(most, self.tokens_left), 1)
        )
        request = SummarizeRequest(
            execution_id=self.context.execution_id,
            step=self.number,
            items=self.items,
            model=self.model,
            settings=settings,
            compaction=self.compaction,
            before=self.before,
        )
        options = model_call_options(self.context) | {"retry_policy": _RETRY_POLICY}
        try:
            return await workflow.execute_activity_method(
                SummaryActivities.summarize,
                request,
                activity_id=tools.summary_activity_id(self.number),
                **options,
            )
        except ActivityError as error:
            failure = model_call_failure(error, self.number)
            if not isinstance(failure, AgentFailedError):
                raise failure from error
            return None
