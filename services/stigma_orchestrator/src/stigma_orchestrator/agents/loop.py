"""The loop of an agent: steps, one after the other, until there is an output or a limit ends it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from temporalio import workflow
from temporalio.exceptions import FailureError

from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecution,
    AgentExecutionPhase,
)
from stigma.contracts import versions
from stigma.contracts.configuration import configure
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, CarriedState
from stigma_orchestrator.agents.budget import Budget
from stigma_orchestrator.agents.conversation import Conversation
from stigma_orchestrator.agents.ending import completed, failed_outcome, internal_outcome
from stigma_orchestrator.agents.model_step import ModelStep
from stigma_orchestrator.agents.step import AgentFailedError, Step, StepContext, gather
from stigma_orchestrator.executions.outcome import Continue, Outcome

_CARRIED_CONTENT = "the conversation"


class AgentLoop:
    """The work of an agent's execution."""

    def __init__(self, request: AgentWorkflowInput, queues: TaskQueues) -> None:
        self._request = request
        self._context = StepContext(
            request.execution_id,
            request.spec,
            configure(request.spec.agent, request.spec.config),
            request.deadline.ToDatetime(UTC),
            queues,
        )
        self._budget = Budget(self._context.configuration, request.carried)
        self.conversation = Conversation(request.spec, request.carried.messages)

    @property
    def phase(self) -> AgentExecutionPhase.ValueType:
        """RUNNING: no step of today waits for anything but an activity."""
        return AgentExecutionPhase.AGENT_EXECUTION_PHASE_RUNNING

    async def run(self) -> Outcome | Continue:
        """Run steps until the agent has an output, fails, or should continue as new."""
        try:
            return await self._run()
        except AgentFailedError as failed:
            return failed_outcome(failed)
        except FailureError as error:
            return internal_outcome(error)

    def describe(self, execution: AgentExecution) -> None:
        """Write the agent's id, steps and usage; not the conversation."""
        execution.spec.agent_id = self._request.spec.agent_id
        execution.status.steps = self._budget.steps
        execution.status.usage.CopyFrom(self._budget.usage)

    def carry(self, carried: CarriedState) -> AgentWorkflowInput:
        """Return the request with the conversation and the budget as they stand."""
        following = AgentWorkflowInput()
        following.CopyFrom(self._request)
        following.carried.CopyFrom(carried)
        following.carried.messages.extend(self.conversation.messages_after_task())
        following.carried.usage.CopyFrom(self._budget.usage)
        following.carried.steps = self._budget.steps
        return following

    async def _run(self) -> Outcome | Continue:
        while True:
            self._budget.check()
            results = await gather(self._next_steps())
            self._budget.add(results)
            self.conversation.add(results, answered=self._budget.failure() is None)
            for result in results:
                if result.output is not None:
                    return completed(result.output, self._budget.last_step)
            if workflow.info().is_continue_as_new_suggested():
                return Continue(_CARRIED_CONTENT)
            # Between two steps nothing is under way that another version would have to take over.
            if versions.target_changed():
                return Continue(_CARRIED_CONTENT, optional=True)

    def _next_steps(self) -> Sequence[Step]:
        """Return the steps that follow the conversation as it stands: one more model call."""
        return [ModelStep(self._context, self._budget.steps + 1, self.conversation.messages)]
