"""One compiled expression."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache

from zigflow_worker.expressions.budget import MAX_HEIGHT, Budget
from zigflow_worker.expressions.code import NOTHING, Code, start
from zigflow_worker.expressions.compiler import compile_source
from zigflow_worker.expressions.cursor import too_deep
from zigflow_worker.expressions.errors import (
    SLIPS,
    Break,
    ExpressionError,
    ExpressionSyntaxError,
    JqError,
    caught_value,
)
from zigflow_worker.expressions.hints import advice
from zigflow_worker.expressions.printing import brief
from zigflow_worker.expressions.updates import first_output
from zigflow_worker.expressions.values import JSON

MAX_SOURCE = 20_000
_MAX_MESSAGE = 450
_RESERVED_FRAMES = 4_000
"""Frames for whoever evaluates, and for what the engine does with data of the allowed depth."""


def is_expression(value: object) -> bool:
    """Return whether `value` is an expression: a string that, once trimmed, is `${...}`."""
    if not isinstance(value, str):
        return False
    trimmed = value.strip()
    return trimmed.startswith("${") and trimmed.endswith("}")


class Expression:
    """A compiled expression; immutable, so that runs share it."""

    __slots__ = ("_first", "_grows", "_steps", "source")

    def __init__(self, source: str, code: Code, *, grows: bool) -> None:
        self.source = source
        self._grows = grows
        self._first = first_output(code)
        self._steps = 1 + start(code)

    def evaluate(
        self,
        input: JSON,  # noqa: A002 - the word of jq and of the specification
        variables: Mapping[str, JSON],
        budget: Budget | None = None,
    ) -> JSON:
        """Return the first output, null when there is none (raises ExpressionError).

        The result may share parts with the input and the variables, which stay unchanged.
        """
        if budget is None:
            budget = Budget()
        budget.items = budget.characters = budget.height = 0
        budget.non_finite = False
        budget.used += self._steps
        if budget.used > budget.limit:
            budget.fail()
        try:
            result = self._first(input, variables, budget)
        except JqError as error:
            raise ExpressionError(_message(error.value)) from None
        except SLIPS as error:
            raise ExpressionError(_message(caught_value(error))) from None
        except (Break, RecursionError) as error:
            raise ExpressionError(f"expression failed: {type(error).__name__}") from None
        if self._grows or budget.non_finite or type(result) is float:
            budget.check_result(result)
        return None if result is NOTHING else result


def compile_expression(source: str, variables: frozenset[str]) -> Expression:
    """Compile jq, with or without its `${}` (raises ExpressionSyntaxError)."""
    return _compile(source, variables)


def syntax_mistakes(source: str, variables: frozenset[str]) -> list[ExpressionSyntaxError]:
    """Return what is wrong with jq: every name that is not known, or what ends its reading.

    Indexes count from the start of the source, its `${` included.
    """
    mistakes: list[ExpressionSyntaxError] = []
    try:
        _compile(source, variables, mistakes)
    except ExpressionSyntaxError as error:
        mistakes.append(error)
    begin = len(source) - len(source.lstrip()) + len("${") if is_expression(source) else 0
    for mistake in mistakes:
        if mistake.index is not None:
            mistake.index += begin
            mistake.advice = advice(source, mistake.index)
    return list({mistake.problem: mistake for mistake in reversed(mistakes)}.values())[::-1]


def _compile(
    source: str, variables: frozenset[str], mistakes: list[ExpressionSyntaxError] | None = None
) -> Expression:
    text = source.strip()[2:-1] if is_expression(source) else source
    _prepare()
    if len(text) > MAX_SOURCE:
        raise ExpressionSyntaxError(f"expression is longer than {MAX_SOURCE} characters")
    if not text.strip():
        raise ExpressionSyntaxError("expression is empty")
    try:
        code, grows = compile_source(text, variables, mistakes)
    except RecursionError:
        raise too_deep() from None
    return Expression(text, code, grows=grows)


@cache
def _prepare() -> None:
    """Make room for our limits to be met before the interpreter's own."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_HEIGHT + _RESERVED_FRAMES))


def _message(value: JSON) -> str:
    text = value[: 2 * _MAX_MESSAGE] if isinstance(value, str) else brief(value, _MAX_MESSAGE)
    return " ".join(text.split())[:_MAX_MESSAGE]
