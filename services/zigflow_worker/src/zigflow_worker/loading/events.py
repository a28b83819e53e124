"""Events of reading a document's text, the same for YAML and JSON."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Event(NamedTuple):
    """One step of reading; `line` and `column` count from 1, `offset` from 0.

    A `plain` scalar is unquoted: its text may mean a number, true, false or null.
    """

    kind: Literal["map", "list", "end", "plain", "text", "alias"]
    value: str
    line: int
    column: int
    offset: int
    anchor: str | None = None
    problem: str = ""
    """The reason why it is refused though YAML has a meaning for it; "": it is not."""


class Lines:
    """Line and column of growing offsets into a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line = 1
        self._start = 0
        self._seen = 0

    def at(self, offset: int) -> tuple[int, int]:
        """Return line and column, from 1; no offset may be before an earlier one."""
        self._line += self._text.count("\n", self._seen, offset)
        newline = self._text.rfind("\n", self._seen, offset)
        if newline >= 0:
            self._start = newline + 1
        self._seen = offset
        return self._line, offset - self._start + 1
