"""The loop of an agent: steps, one after the other, until there is an output or a limit ends it."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow
from typing_extensions import override

from stigma.contracts import versions
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput
from stigma_orchestrator.agents.agent_work import CARRIED_CONTENT, AgentWork
from stigma_orchestrator.agents.conversation import Conversation
from stigma_orchestrator.agents.ending import completed
from stigma_orchestrator.agents.model_step import ModelStep
from stigma_orchestrator.agents.step import Step, gather
from stigma_orchestrator.executions.outcome import Continue, Outcome


class AgentLoop(AgentWork):
    """The work of an execution whose agent has no tools."""

    def __init__(self, request: AgentWorkflowInput, queues: TaskQueues) -> None:
        super().__init__(request, queues)
        self.conversation: Conversation = Conversation(request.spec, request.carried.messages)

    @override
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
                return Continue(CARRIED_CONTENT)
            # Between two steps nothing is under way that another version would have to take over.
            if versions.target_changed():
                return Continue(CARRIED_CONTENT, optional=True)

    def _next_steps(self) -> Sequence[Step]:
        """Return the steps that follow the conversation as it stands: one more model call."""
        return [ModelStep(self._context, self._budget.steps + 1, self.conversation.messages)]
