"""The error of a document that cannot be read."""

from __future__ import annotations

import json

from stigma.contracts import limits


class DocumentError(ValueError):
    """The document cannot be read; one line.

    `pointer` is the JSON pointer of the value at fault ("" the whole document); `line` and
    `column` count from 1.
    """

    def __init__(self, message: str, pointer: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.pointer = pointer
        self.line = line
        self.column = column


class Unreadable(str):
    """A text, so that data that has it is still JSON."""

    __slots__ = ()


UNREADABLE = Unreadable()
"""Stands, by its identity, for a value that cannot be read, where reading goes on after it."""


class DocumentTooHeavyError(DocumentError):
    """Reading and compiling the document takes too long."""


TOO_HEAVY = (
    f"{limits.DOCUMENT_TOO_LARGE}: up to here its weight is over {limits.MAX_DOCUMENT_WEIGHT:,}, "
    "which is what a run may take to read and compile it"
)


def one_line(message: str) -> str:
    """Return a parser's message without its line breaks."""
    return " ".join(message.split())


def quoted(text: str) -> str:
    """Return text from a document for a message: in quotes, escaped, not too long."""
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return json.dumps(shown, ensure_ascii=False)
