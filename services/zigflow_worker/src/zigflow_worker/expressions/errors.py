"""Errors of expressions.

ValueError
├── ExpressionSyntaxError   the text cannot be compiled: a defect of the document
└── ExpressionError         the evaluation failed, or was too expensive
Exception
├── JqError                 an error inside an expression, which its `try` may catch
└── Break                   `break $label` on its way to its `label`
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class ExpressionSyntaxError(ValueError):
    """The expression cannot be compiled; one line, with the position where known.

    `problem` is the same without the position, `index` that of the character in the source that is
    wrong, from 0; None: it is not known. `name` is what stands there, which may be misspelt, and
    `known` what it may be; `advice` says what to write instead, or nothing.
    """

    def __init__(
        self,
        problem: str,
        index: int | None = None,
        position: str = "",
        *,
        name: str = "",
        known: Collection[str] = (),
    ) -> None:
        super().__init__(f"{problem}{position}")
        self.problem = problem
        self.index = index
        self.name = name
        self.known = known
        self.advice = ""


class ExpressionError(ValueError):
    """The evaluation failed or exceeded its budget; one line, the same on every replay."""


class JqError(Exception):
    """An error of an expression; it carries any value."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class Break(Exception):  # noqa: N818 - it is no error, but how a label is left
    """Leaves the label whose token it carries."""

    def __init__(self, label: object) -> None:
        super().__init__()
        self.label = label


SLIPS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""Python's own errors that a builtin may let slip; an expression catches them as its own."""
CATCHABLE = (JqError, *SLIPS)


def caught_value(error: Exception) -> Any:
    """Return what `catch` sees of an error (raises what must not be caught)."""
    if isinstance(error, JqError):
        return error.value
    if isinstance(error, ExpressionError):
        raise error
    return f"expression failed: {type(error).__name__}"
