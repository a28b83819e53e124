"""Problems of a document, each with its place in the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zigflow_worker.definition.nodes import LooseNodeError, NodeError
from zigflow_worker.loading import SourceDocument


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


class ProblemCollector:
    """Collects problems: those of one task do not hide those of the next."""

    def __init__(self, source: SourceDocument) -> None:
        self._source = source
        self._problems: list[Problem] = []
        self._all_loose = True

    def problem(self, pointer: str, message: str) -> Problem:
        """Return a problem at a part of the document."""
        return Problem(*self._source.position(pointer), pointer, message)

    @contextmanager
    def collecting_problems(self) -> Iterator[None]:
        """Keep a NodeError of the body as a problem, and continue after it."""
        try:
            yield
        except NodeError as error:
            self._problems.append(self.problem(error.pointer, error.message))
            self._all_loose &= isinstance(error, LooseNodeError)

    def raise_problems(self) -> None:
        """Raise InvalidDocumentError with every problem collected, if there is any."""
        if self._problems:
            loose = self._all_loose
            raise (LooseDocumentError if loose else InvalidDocumentError)(self._problems)
