"""The turns of an agent with tools: answers of its model, and what followed from each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stigma.agent.v1.agent_execution_pb2 import AgentOutput, Message, ToolResult
from stigma.contracts import conversation
from stigma.contracts.compaction import compacted, first_step
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    AgentWorkflowInput,
    Compaction,
    ConversationItem,
    ConverseResponse,
    StepRange,
)


@dataclass(frozen=True)
class Turn:
    """One answer, the results of its calls, and a correction if the model has to answer again."""

    step: int
    answer: ConverseResponse
    results: dict[str, ToolResult]
    correction: Message | None = None
    sent: Sequence[str] = ()
    """Messages sent to the execution before the answer, and after the turn before."""

    @property
    def text(self) -> str:
        """The text of the answer."""
        return "".join(part.text for part in self.answer.message.parts)

    @property
    def output(self) -> AgentOutput | None:
        """The agent's output, if this turn has it."""
        if self._is_paused or not conversation.output_accepted(self.answer, self.results):
            return None
        return AgentOutput(text=self.text, json=self.answer.output_json)

    @property
    def is_whole(self) -> bool:
        """Whether the model has ended its answer, and all calls of it have ended."""
        calls = conversation.calls(self.answer)
        return not self._is_paused and all(call.call_id in self.results for call in calls)

    @property
    def _is_paused(self) -> bool:
        return self.answer.finish_reason == FINISH_REASON_PAUSE


class Turns:
    """The turns of this run, after the messages of the runs before it."""

    def __init__(self, request: AgentWorkflowInput) -> None:
        self._task = conversation.task_message(request.spec)
        carried = request.carried
        self._carried = carried.messages
        self._first = first_step(carried)
        self._turns: list[Turn] = []

    @property
    def last(self) -> Turn | None:
        """The newest turn of this run; None before the first."""
        return self._turns[-1] if self._turns else None

    def add(self, turn: Turn) -> None:
        """Add the next turn."""
        self._turns.append(turn)

    def items(self, before: int | None = None) -> Iterator[ConversationItem]:
        """Yield the items that stand for the turns, where history has them.

        Args:
            before: only for those before this step.
        """
        pending: StepRange | None = None
        for turn in self._turns:
            if before is not None and turn.step >= before:
                break
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

    def messages_after_task(
        self,
        open_turn: Turn | None = None,
        compaction: Compaction | None = None,
        summary: str = "",
    ) -> list[Message]:
        """Return the messages without the task, which the request holds already.

        Args:
            open_turn: the last turn, of which only what comes before its answer is returned.
            compaction: what is left out.
            summary: that stands for it, where there is one.
        """
        steps = ((turn.step, self._messages(turn, open_turn)) for turn in self._turns)
        how = compaction or Compaction()
        return list(compacted(self._carried, self._first, steps, how, summary))

    def _messages(self, turn: Turn, open_turn: Turn | None) -> list[Message]:
        found = [conversation.sent_message(each) for each in turn.sent]
        if turn is open_turn:
            return found
        found += conversation.messages(turn.answer, turn.results)
        return found if turn.correction is None else [*found, turn.correction]
