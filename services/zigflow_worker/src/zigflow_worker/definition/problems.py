"""Problems of a document, each with its place in the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zigflow_worker.definition.node_errors import (
    ConsequenceError,
    LooseNodeError,
    NodeError,
    TextError,
    UnknownKeyError,
)
from zigflow_worker.loading import SourceDocument

# Each takes a moment, and a document may have tens of thousands of mistakes.
_MOST_HINTS = 100


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a document; line and column count from 1."""

    line: int
    column: int
    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.pointer or '/'}: {self.message}"


class InvalidDocumentError(ValueError):
    """The document cannot be run; `problems` has all that were found, in document order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class HeavyDocumentError(InvalidDocumentError):
    """Reading and compiling the document takes too long; `problems` has the place of the limit."""


class LooseDocumentError(InvalidDocumentError):
    """The document has only problems that 0.1.0 read over."""


class ProblemList:
    """The problems of one document, as they are found."""

    def __init__(self, source: SourceDocument) -> None:
        self._source = source
        self.problems: list[Problem] = []
        self.all_loose = True
        self._unknown: dict[str, str] = {}

    def told(self) -> Iterator[Problem]:
        """Yield the problems, without those inside of values whose keys are not known."""
        for each in self.problems:
            pointer = each.pointer
            while pointer and pointer not in self._unknown:
                pointer = pointer.rpartition("/")[0]
            if not pointer or self._unknown[pointer] == each.message:
                yield each

    def problem(self, pointer: str, message: str) -> Problem:
        """Return a problem at a part of the document."""
        return Problem(*self._source.position(pointer), pointer, message)

    def add(self, error: NodeError) -> None:
        """Add an error, unless it only follows from another one."""
        if not isinstance(error, ConsequenceError):
            problem = self._located(error)
            self.problems.append(problem)
            self.all_loose &= isinstance(error, LooseNodeError)
            if isinstance(error, UnknownKeyError):
                self._unknown[error.pointer] = problem.message

    def _located(self, error: NodeError) -> Problem:
        """Return an error with its place: in a text the very character, where that is known."""
        place, at = None, ""
        if isinstance(error, TextError):
            place = self._source.position_in(error.pointer, error.text, error.index)
            at = "" if place else error.position
        line, column = place or self._source.position(error.pointer)
        hints = len(self.problems) < _MOST_HINTS
        message = error.message_with_hint(at) if hints else f"{error.message}{at}"
        return Problem(line, column, error.pointer, message)


class ProblemCollector:
    """Collects problems: those of one task do not hide those of the next.

    Args:
        source: the document.
        every: takes every problem that can be told: also those after the first of a task. None:
            only the first of each.
    """

    def __init__(self, source: SourceDocument, every: ProblemList | None = None) -> None:
        self.every = every
        self._found = ProblemList(source) if every is None else every

    def problem(self, pointer: str, message: str) -> Problem:
        """Return a problem at a part of the document."""
        return self._found.problem(pointer, message)

    @contextmanager
    def collecting_problems(self) -> Iterator[None]:
        """Keep a NodeError of the body as a problem, and continue after it."""
        try:
            yield
        except NodeError as error:
            self._found.add(error)

    @contextmanager
    def part(self) -> Iterator[None]:
        """Do so where every problem is wanted, and nothing else elsewhere."""
        try:
            yield
        except NodeError as error:
            if self.every is None:
                raise
            self._found.add(error)

    def raise_problems(self) -> None:
        """Raise InvalidDocumentError with the problems collected, unless every one is wanted."""
        if self.every is None and self._found.problems:
            loose = self._found.all_loose
            raise (LooseDocumentError if loose else InvalidDocumentError)(self._found.problems)
