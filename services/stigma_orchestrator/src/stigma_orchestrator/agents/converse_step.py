"""A model call of an agent with tools: one activity of the AI worker, which reads history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.exceptions import ActivityError

from stigma.agent.v1.agent_execution_pb2 import ToolResult
from stigma.agent.v1.agent_pb2 import ModelSettings
from stigma.contracts import tools
from stigma.contracts.activities import ConversationActivities
from stigma.internal.v1.execution_pb2 import (
    Compaction,
    ConversationItem,
    ConverseRequest,
    ConverseResponse,
)
from stigma.internal.v1.session_pb2 import SessionCompaction
from stigma_orchestrator.agents.model_step import model_call_failure, model_call_options
from stigma_orchestrator.agents.step import StepContext


@dataclass(frozen=True)
class ConverseStep:
    """Call number `number`, from 1, with the conversation that the items stand for."""

    context: StepContext
    number: int
    items: Iterable[ConversationItem]
    tokens_left: int | None
    """Tokens that the agent's limit leaves for this call; None without a limit."""
    results: Sequence[ToolResult] = ()
    """Results of the step before that no other event of history holds."""
    sent: Sequence[str] = ()
    """Messages sent to the execution since the step before."""
    compaction: Compaction = field(default_factory=Compaction)
    """Parts left out of the conversation."""
    session_compaction: SessionCompaction | None = None
    """Parts left out of what was said in the session before; None without one."""

    async def run(self) -> ConverseResponse:
        """Call the model.

        Raises:
            AgentFailedError: it failed for good.
        """
        request = ConverseRequest(
            execution_id=self.context.execution_id,
            step=self.number,
            items=self.items,
            model=self.context.configuration.model,
            settings=self._settings(),
            partial_text=self.context.spec.partial_text,
            results=self.results,
            sent_messages=self.sent,
            compaction=self.compaction,
            session_compaction=self.session_compaction,
        )
        try:
            return await workflow.execute_activity_method(
                ConversationActivities.converse,
                request,
                activity_id=tools.model_activity_id(self.number),
                **model_call_options(self.context),
            )
        except ActivityError as error:
            raise model_call_failure(error, self.number) from error

    def _settings(self) -> ModelSettings:
        settings = ModelSettings()
        settings.CopyFrom(self.context.configuration.settings)
        if self.tokens_left is not None:
            most = settings.max_tokens or self.tokens_left
            settings.max_tokens = max(min(most, self.tokens_left, _MAX_INT32), 1)
        return settings


_MAX_INT32 = 2**31 - 1
