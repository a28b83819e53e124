"""The answer that a model is writing, put together from the pieces of a watch."""

from __future__ import annotations

from dataclasses import dataclass

from stigma.agent.v1.agent_execution_service_pb2 import ModelProgress
from stigma_api.console.views import MAX_TEXT


@dataclass(frozen=True)
class Writing:
    """An answer so far, as a page shows it."""

    step: int
    attempt: int
    text: str
    """The newest characters."""
    left_out: int
    """Characters before them."""


class PartialAnswer:
    """Keeps what a page shows of the answer under way."""

    def __init__(self) -> None:
        self._writing: Writing | None = None
        self.is_complete = False
        """Whether the call has ended: the conversation has the whole answer, or none comes."""

    @property
    def writing(self) -> Writing | None:
        """The answer so far; None without any text."""
        return self._writing

    def add(self, progress: ModelProgress) -> None:
        """Add a piece; one of another call or attempt begins anew."""
        known = self._writing
        begun = known is not None and (known.step, known.attempt) == (
            progress.step,
            progress.attempt,
        )
        before = known.text if known is not None and begun else ""
        left_out = known.left_out if known is not None and begun else 0
        if left_out + len(before) != progress.offset:  # something is missing between them
            before, left_out = "", progress.offset
        text = before + progress.text
        cut = max(len(text) - MAX_TEXT, 0)
        self._writing = Writing(progress.step, progress.attempt, text[cut:], left_out + cut)
        self.is_complete = False

    def complete(self) -> None:
        """Take note that the call has ended."""
        self.is_complete = True

    def clear(self) -> None:
        """Forget the answer."""
        self._writing, self.is_complete = None, False
