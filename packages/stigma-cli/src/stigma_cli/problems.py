"""Problems of files: each with its place, in the form that all commands print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_PROBLEMS = 100


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file; line and column count from 1, 0 is unknown."""

    line: int
    column: int
    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message} ({self.pointer or '/'})"

    @property
    def place(self) -> tuple[int, int]:
        """Line and column, for sorting."""
        return self.line, self.column

    def in_file(self, file: str) -> str:
        """Return the problem with its file, on one line."""
        text = f"{file}:{self}" if self.line else f"{file}: {self.message}"
        return " ".join(text.split())


@dataclass(frozen=True)
class Problems:
    """Problems in the order of their places, and how many more there are."""

    shown: list[Problem]
    more: int = 0


def bounded(lines: Sequence[str], more: int = 0) -> list[str]:
    """Return the first lines about problems, and one that counts the rest and `more`."""
    hidden = more + len(lines[MOST_PROBLEMS:])
    return [*lines[:MOST_PROBLEMS], *([f"and {hidden} more"] if hidden else [])]
