"""Errors of parts of a document, each with its JSON pointer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from zigflow_worker.definition.spelling import meant


class NodeError(Exception):
    """One part of the document is wrong.

    Args:
        message: what is wrong with it.
        pointer: of it.
        word: in it, which may be misspelt.
        known: words that it may be.
        more: what is said after a word that it may be.
    """

    def __init__(
        self,
        message: str,
        pointer: str,
        *,
        word: str = "",
        known: Collection[str] = (),
        more: str = "",
    ) -> None:
        super().__init__(message + more)
        self.message = message + more
        self.pointer = pointer
        self._parts = message, word, known, more

    def message_with_hint(self, at: str = "") -> str:
        """Return the message, with the word that is meant where one is close, and with a place."""
        message, word, known, more = self._parts
        return f"{message}{meant(word, known)}{at}{more}"


class LooseNodeError(NodeError):
    """One part of the document is wrong, which 0.1.0 read over."""


class UnknownKeyError(NodeError):
    """A key of a map is not known: nothing is known of its value."""


class TextError(NodeError):
    """A character of a text is wrong.

    Args:
        message: what is wrong.
        pointer: of the text.
        text: itself.
        index: of the character, from 0.
        word: at that place, which may be misspelt.
        known: words that it may be.
        more: what is said after a word that it may be.
    """

    def __init__(
        self,
        message: str,
        pointer: str,
        text: str,
        index: int,
        *,
        word: str = "",
        known: Collection[str] = (),
        more: str = "",
    ) -> None:
        super().__init__(message, pointer, word=word, known=known, more=more)
        self.text = text
        self.index = index

    @property
    def position(self) -> str:
        """Where the character is in the text."""
        line = self.text.count("\n", 0, self.index) + 1
        column = self.index - self.text.rfind("\n", 0, self.index)
        return f" at line {line}, column {column} of the text"


class ConsequenceError(NodeError):
    """One part of the document cannot be judged, because of a mistake that is known already."""


class ErrorSink(Protocol):
    """A list of mistakes."""

    def add(self, error: NodeError) -> None:
        """Add one."""
