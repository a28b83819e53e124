"""One compiled expression."""

from collections.abc import Mapping

import purejq

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.errors import ExpressionError, ExpressionSyntaxError
from zigflow_worker.expressions.values import JSON


def is_expression(value: object) -> bool:
    """Whether `value` is an expression: a string that is `${...}` as a whole, once trimmed."""
    if not isinstance(value, str):
        return False
    trimmed = value.strip()
    return trimmed.startswith("${") and trimmed.endswith("}")


class Expression:
    """A compiled expression; immutable, so that runs share it."""

    __slots__ = ("_program", "source")

    def __init__(self, source: str, program: purejq.Program) -> None:
        self.source = source
        self._program = program

    def evaluate(
        self,
        input: JSON,  # noqa: A002 - the word of jq and of the specification
        variables: Mapping[str, JSON],
        budget: Budget | None = None,
    ) -> JSON:
        """Return the first output, null when there is none (raises ExpressionError)."""
        budget = budget or Budget()
        budget.spend(1)
        try:
            result: JSON = self._program.first(input, vars=variables)
        except purejq.JqError as error:
            raise ExpressionError(str(error)) from None
        return result


def compile_expression(source: str, variables: frozenset[str]) -> Expression:
    """Compile jq, with or without its `${}` (raises ExpressionSyntaxError)."""
    text = source.strip()[2:-1] if is_expression(source) else source
    try:
        return Expression(text, purejq.compile(text))
    except purejq.JqParseError as error:
        raise ExpressionSyntaxError(str(error)) from None
