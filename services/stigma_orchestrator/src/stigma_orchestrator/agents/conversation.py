"""The conversation of an agent with its model."""

from __future__ import annotations

from collections.abc import Iterable

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec, Message
from stigma.contracts.conversation import task_message
from stigma_orchestrator.agents.step import StepResult


class Conversation:
    """The task of an agent, and all messages that followed."""

    def __init__(self, spec: AgentExecutionSpec, carried: Iterable[Message] = ()) -> None:
        self.messages = [task_message(spec), *carried]

    def add(self, results: Iterable[StepResult], *, answered: bool) -> None:
        """Append the messages of steps; their questions only where a model answers them."""
        for result in results:
            self.messages.extend(result.messages)
            if answered:
                self.messages.extend(result.questions)

    def messages_after_task(self) -> list[Message]:
        """Return the messages without the task, which the request holds already."""
        return self.messages[1:]
