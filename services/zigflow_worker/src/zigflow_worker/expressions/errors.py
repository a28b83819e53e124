"""Errors of expressions.

ValueError
├── ExpressionSyntaxError   the text cannot be compiled: a defect of the document
└── ExpressionError         the evaluation failed, or was too expensive
"""

from __future__ import annotations


class ExpressionSyntaxError(ValueError):
    """The expression cannot be compiled; one line, with the position where known."""


class ExpressionError(ValueError):
    """The evaluation failed or exceeded its budget; one line, the same on every replay."""
