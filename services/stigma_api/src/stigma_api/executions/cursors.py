"""Cursors of watches: positions in the histories of an execution and of its document's run."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from temporalio.api.history.v1 import HistoryEvent

from stigma_api import errors
from stigma_api.errors import ApiError

_EVENT_ID = re.compile(r"[0-9]{1,18}")
_PART = re.compile(r"[1-9][0-9]{0,8}")
_SEPARATOR = "|"


@dataclass(frozen=True)
class Position:
    """A position in a workflow: an event of one of its runs."""

    run_id: str
    event_id: int
    part: int = 0
    """The last watch event of several that the event has; 0 for the last of all."""

    @classmethod
    def parse(cls, text: str) -> Position:
        """Parse the text of a position; raises INVALID_ARGUMENT."""
        run_id, _, position = text.partition(":")
        event_id, mark, part = position.partition(":")
        if not run_id or not _EVENT_ID.fullmatch(event_id):
            raise bad_cursor()
        if mark and not _PART.fullmatch(part):
            raise bad_cursor()
        return cls(run_id, int(event_id), int(part or 0))

    def is_before(self, event: HistoryEvent) -> bool:
        """Return whether watch events of a history event come after this position."""
        return event.event_id > self.event_id or (event.event_id == self.event_id and self.part > 0)

    def __str__(self) -> str:
        part = f":{self.part}" if self.part else ""
        return f"{self.run_id}:{self.event_id}{part}"


@dataclass(frozen=True)
class Cursor:
    """The positions up to which a watch has told everything."""

    own: Position
    """In the execution."""
    document: Position | None = None
    """In the engine's run; None: nothing of it."""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse a cursor; raises INVALID_ARGUMENT."""
        try:
            content = base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise bad_cursor() from None
        own, separator, document = content.partition(_SEPARATOR)
        return cls(Position.parse(own), Position.parse(document) if separator else None)

    def __str__(self) -> str:
        document = f"{_SEPARATOR}{self.document}" if self.document else ""
        return base64.urlsafe_b64encode(f"{self.own}{document}".encode()).decode()


def bad_cursor() -> ApiError:
    """Return the refusal of a cursor that is none of the execution's, or none any more."""
    problem = "is not of this execution, or too old: watch from the start"
    return errors.invalid_argument([("cursor", problem)])
