"""Text of a model that is still writing: how it travels from the AI worker to who watches.

Heartbeats of the model call have it as details, one JSON object {step, attempt, offset, text}: the
end of what this attempt has written, and where that belongs in the whole, in characters. Temporal
keeps the details of the last heartbeat, of an earlier attempt too, until there are new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stigma.agent.v1.agent_execution_service_pb2 import ModelProgress
from stigma.contracts.json_text import replace_surrogates

MAX_TAIL_BYTES = 32 * 1024
"""Size limit of the text in one heartbeat, as UTF-8."""

_NUMBERS = ("step", "attempt", "offset")


class PartialText:
    """The text that one attempt of a model call has written so far.

    Args:
        step: of the call; counts from 1.
        attempt: counts from 1.
    """

    def __init__(self, step: int, attempt: int) -> None:
        self._step = step
        self._attempt = attempt
        self._offset = 0
        self._tail = ""
        self._half = ""
        """First half of a surrogate pair whose second one has not come yet."""

    def add(self, text: str) -> None:
        """Add what was written; servers cut between the two halves of a surrogate pair."""
        self._half, whole = _split_half(self._half + text)
        self._tail += _joined(whole)
        # Characters have up to four bytes: the rest is cut off once it is needed.
        if len(self._tail) > 2 * MAX_TAIL_BYTES:
            self._cut(len(self._tail) - MAX_TAIL_BYTES)

    def details(self) -> Mapping[str, Any]:
        """Return the details of a heartbeat."""
        tail = self._tail.encode()[-MAX_TAIL_BYTES:].decode(errors="ignore")
        self._cut(len(self._tail) - len(tail))
        return {
            "step": self._step,
            "attempt": self._attempt,
            "offset": self._offset,
            "text": tail,
        }

    def _cut(self, characters: int) -> None:
        self._offset += characters
        self._tail = self._tail[characters:]


class ReceivedText:
    """The newest text of a model that is writing, put together from progress.

    It begins anew with another attempt or step, and after a gap: then the beginning is missing.
    """

    def __init__(self) -> None:
        self._key = (0, 0)
        self.offset = 0
        """Where the text begins in what the attempt has written."""
        self.text = ""

    def add(self, progress: ModelProgress) -> None:
        """Add progress; what is known already changes nothing."""
        key = progress.step, progress.attempt
        end = progress.offset + len(progress.text)
        is_apart = progress.offset > self.offset + len(self.text) or end < self.offset
        if key != self._key or is_apart:
            self._key, self.offset, self.text = key, progress.offset, progress.text
            return
        before = self.text[: max(progress.offset - self.offset, 0)]
        after = self.text[max(end - self.offset, 0) :]
        self.offset = min(self.offset, progress.offset)
        self.text = before + progress.text + after


def read_details(details: Mapping[str, Any]) -> ModelProgress | None:
    """Return what a heartbeat's details say; None for those that are none of a model's text."""
    text = details.get("text")
    if not isinstance(text, str) or not text:
        return None
    numbers: dict[str, Any] = {name: details.get(name) for name in _NUMBERS}
    try:
        return ModelProgress(**numbers, text=replace_surrogates(text))
    except (TypeError, ValueError):
        return None


def _split_half(text: str) -> tuple[str, str]:
    """Return the first half of a surrogate pair at the end of a text, and the text before it."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return text[-1], text[:-1]
    return "", text


def _joined(text: str) -> str:
    """Return a text whose surrogate pairs are characters, without halves of any."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
