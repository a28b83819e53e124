"""The turns of an agent with tools: answers of its model, and what followed from each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stigma.agent.v1.agent_execution_pb2 import Message, ToolResult
from stigma.contracts import conversation
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    ConversationItem,
    ConverseResponse,
    StepRange,
)


@dataclass(frozen=True)
class Turn:
    """One answer, the results of its calls, and a correction if the model has to answer again."""

    step: int
    answer: ConverseResponse
    results: Mapping[str, ToolResult]
    correction: Message | None = None


class Turns:
    """The turns of this run, after the messages of the runs before it."""

    def __init__(self, request: AgentWorkflowInput) -> None:
        self._task = conversation.task_message(request.spec)
        self._carried = request.carried.messages
        self._turns: list[Turn] = []

    def add(self, turn: Turn) -> None:
        """Add the next turn."""
        self._turns.append(turn)

    def items(self) -> Iterator[ConversationItem]:
        """Yield the items that stand for the turns, where history has them."""
        pending: StepRange | None = None
        for turn in self._turns:
            pending = pending or StepRange(first=turn.step)
            pending.last = turn.step
            if turn.correction is not None:
                yield ConversationItem(steps=pending)
                yield ConversationItem(inline=turn.correction)
                pending = None
        if pending is not None:
            yield ConversationItem(steps=pending)

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, the task included."""
        return [self._task, *self.messages_after_task()]

    def messages_after_task(self) -> list[Message]:
        """Return the messages without the task, which the request holds already."""
        found = list(self._carried)
        for turn in self._turns:
            found += conversation.messages(turn.answer, turn.results)
            if turn.correction is not None:
                found.append(turn.correction)
        return found
