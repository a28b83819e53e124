"""Conversations made smaller for the model: the same whoever reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.internal.v1.execution_pb2 import CarriedState, Compaction

Steps = Iterable[tuple[int, Sequence[Message]]]
"""Messages by step: what was sent before it, the answer, results, and a correction."""


def first_step(carried: CarriedState) -> int:
    """Return the first step that a run adds to what it carries from earlier runs."""
    return carried.turn.step if carried.HasField("turn") else carried.steps + 1


def compacted(
    carried: Sequence[Message],
    first_step: int,
    steps: Steps,
    compaction: Compaction,
    summary: str = "",
) -> Iterator[Message]:
    """Yield the messages of a conversation, after the task, as the model is sent them.

    Args:
        carried: messages of earlier runs.
        first_step: the first step that is not among them.
        steps: of this run, in order.
        compaction: what is left out. A step is left out as a whole, so that a call and its result
            stay or go together.
        summary: that `compaction` names.
    """
    if compaction.dropped_before > 1:
        yield _marker(compaction, summary)
    if compaction.dropped_before < max(first_step, 2):
        is_cleared = compaction.cleared_before >= first_step
        yield from map(without_results, carried) if is_cleared else carried
    for step, messages in steps:
        if step >= compaction.dropped_before:
            is_cleared = step < compaction.cleared_before
            yield from map(without_results, messages) if is_cleared else messages


def without_results(message: Message) -> Message:
    """Return a message with the results of tools replaced by notes of their sizes."""
    if not any(part.HasField("tool_result") for part in message.parts):
        return message
    cleared = Message()
    cleared.CopyFrom(message)
    for part in cleared.parts:
        if part.HasField("tool_result"):
            note = f"[result cleared, {len(part.tool_result.content.encode())} bytes]"
            if len(note) < len(part.tool_result.content):
                part.tool_result.content = note
    return cleared


def _marker(compaction: Compaction, summary: str) -> Message:
    """Return the message that stands for what is dropped."""
    last, texts = compaction.dropped_before - 1, []
    if compaction.summary_step:
        summarized = compaction.summarized_before - 1
        texts.append(f"[Summary of the first {summarized} steps of this conversation:]\n{summary}")
        if last > summarized:
            texts.append(f"[Steps {summarized + 1} to {last} of this conversation were dropped.]")
    else:
        texts.append(f"[The first {last} steps of this conversation were dropped.]")
    return Message(role=ROLE_USER, parts=[Part(text="\n\n".join(texts))])
