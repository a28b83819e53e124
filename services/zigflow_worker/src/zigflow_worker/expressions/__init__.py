"""Runtime expressions: jq that is deterministic, bounded and without I/O."""

from __future__ import annotations

from zigflow_worker.expressions.budget import DEFAULT_STEPS, Budget
from zigflow_worker.expressions.errors import ExpressionError, ExpressionSyntaxError
from zigflow_worker.expressions.expression import (
    Expression,
    compile_expression,
    is_expression,
    syntax_mistakes,
)
from zigflow_worker.expressions.templates import Template, compile_template
from zigflow_worker.expressions.values import JSON
from zigflow_worker.expressions.variables import keys_read

__all__ = [
    "DEFAULT_STEPS",
    "JSON",
    "Budget",
    "Expression",
    "ExpressionError",
    "ExpressionSyntaxError",
    "Template",
    "compile_expression",
    "compile_template",
    "is_expression",
    "keys_read",
    "syntax_mistakes",
]
