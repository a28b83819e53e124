"""Base of the loops of agents: the request, the budget, and the ends of the work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC
from typing import Protocol

from temporalio.exceptions import FailureError

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentExecutionPhase, Message
from stigma.contracts.configuration import configure
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, CarriedState
from stigma_orchestrator.agents.budget import Budget
from stigma_orchestrator.agents.ending import failed_outcome, internal_outcome
from stigma_orchestrator.agents.step import AgentFailedError, StepContext
from stigma_orchestrator.executions.outcome import Continue, Outcome

CARRIED_CONTENT = "the conversation"
"""Names what a run hands on, for the failure when it is too large."""


class AgentConversation(Protocol):
    """The messages of an agent."""

    @property
    def messages(self) -> list[Message]:
        """All of them, the task included."""

    def messages_after_task(self) -> list[Message]:
        """Return the messages without the task, which the request holds already."""


class AgentWork(ABC):
    """The work of an agent's execution."""

    conversation: AgentConversation

    def __init__(self, request: AgentWorkflowInput, queues: TaskQueues) -> None:
        self._request = request
        self._context = StepContext(
            request.execution_id,
            request.spec,
            configure(request.spec.agent, request.spec.config),
            request.deadline.ToDatetime(UTC),
            queues,
            request.lineage,
        )
        self._budget = Budget(self._context.configuration, request.carried)

    @property
    def phase(self) -> AgentExecutionPhase.ValueType:
        """RUNNING: without tools, nobody is asked."""
        return AgentExecutionPhase.AGENT_EXECUTION_PHASE_RUNNING

    async def run(self) -> Outcome | Continue:
        """Work until the agent has an output, fails, or should continue as new."""
        try:
            return await self._run()
        except AgentFailedError as failed:
            return failed_outcome(failed)
        except FailureError as error:
            return internal_outcome(error)

    async def settle(self, outcome: Outcome) -> None:  # noqa: B027 - nothing follows, by default
        """Do nothing."""

    def describe(self, execution: AgentExecution) -> None:
        """Write the agent's id, steps and usage; not the conversation."""
        execution.spec.agent_id = self._request.spec.agent_id
        execution.status.steps = self._budget.steps
        execution.status.parent = self._request.lineage.parent
        execution.status.root = self._request.lineage.root
        execution.status.usage.CopyFrom(self._budget.usage)
        for model, usage in self._budget.usage_by_model.items():
            execution.status.usage_by_model[model].CopyFrom(usage)

    def carry(self, carried: CarriedState) -> AgentWorkflowInput:
        """Return the request with the conversation and the budget as they stand."""
        following = AgentWorkflowInput()
        following.CopyFrom(self._request)
        following.carried.CopyFrom(carried)
        following.carried.messages.extend(self._messages_to_carry())
        following.carried.usage.CopyFrom(self._budget.usage)
        following.carried.steps = self._budget.steps
        for model, usage in self._budget.usage_by_model.items():
            following.carried.usage_by_model[model].CopyFrom(usage)
        return following

    def _messages_to_carry(self) -> list[Message]:
        return self.conversation.messages_after_task()

    @abstractmethod
    async def _run(self) -> Outcome | Continue:
        """Work until the agent has an output, or should continue as new.

        Raises:
            AgentFailedError: it failed.
        """
