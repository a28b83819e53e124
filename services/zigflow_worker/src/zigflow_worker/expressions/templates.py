"""Documents with expressions in them: whole-string expressions inside maps and lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.expression import compile_expression, is_expression
from zigflow_worker.expressions.values import JSON

MAX_DEPTH = 400
"""Maps and lists inside each other; as deep as a document may be."""

_Fill: TypeAlias = Callable[[JSON, Mapping[str, JSON], Budget], JSON]


class Template:
    """A compiled value; `constant` when nothing in it is an expression."""

    __slots__ = ("_fill", "_value", "constant")

    def __init__(self, value: JSON, fill: _Fill | None) -> None:
        self._value = value
        self._fill = fill
        self.constant = fill is None

    def evaluate(
        self,
        input: JSON,  # noqa: A002 - the word of jq and of the specification
        variables: Mapping[str, JSON],
        budget: Budget | None = None,
    ) -> JSON:
        """Return the value with its expressions replaced (raises ExpressionError).

        What holds no expression is returned as it is, not copied: the caller must not change it.
        """
        if self._fill is None:
            return self._value
        return self._fill(input, variables, Budget() if budget is None else budget)


def compile_template(value: JSON, variables: frozenset[str]) -> Template:
    """Compile every expression in `value` (raises ExpressionSyntaxError)."""
    return Template(value, _compile(value, variables, 0))


def _compile(value: JSON, variables: frozenset[str], depth: int) -> _Fill | None:
    """Return what fills `value`, or None when nothing in it is an expression."""
    if isinstance(value, str):
        return compile_expression(value, variables).evaluate if is_expression(value) else None
    if not isinstance(value, (dict, list)):
        return None
    if depth == MAX_DEPTH:
        raise ExpressionSyntaxError(f"a value nests more than {MAX_DEPTH} deep")
    fills: list[tuple[str | int, _Fill]] = []
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        fill = _compile(child, variables, depth + 1)
        if fill is not None:
            fills.append((key, fill))
    return _filler(value, fills) if fills else None


def _filler(template: dict[str, JSON] | list[JSON], fills: list[tuple[str | int, _Fill]]) -> _Fill:
    """Return what copies `template` and replaces the items that `fills` names."""

    def fill_container(data: JSON, variables: Mapping[str, JSON], budget: Budget) -> JSON:
        budget.spend(len(fills))
        filled = template.copy()
        for key, fill in fills:
            filled[key] = fill(data, variables, budget)  # type: ignore[index]
        return filled

    return fill_container
