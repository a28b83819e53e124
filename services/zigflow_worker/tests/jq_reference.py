"""The C implementation of jq beside ours: all outputs, and whether an error ends them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jq

from zigflow_worker.expressions import (
    JSON,
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    compile_expression,
)

REFUSED, FAILED, DONE = "refused", "failed", "done"
"""End of a program: it does not compile, an error ends it, or it ran to its end."""

_ENOUGH_OUTPUTS = 200
_LIMITS = re.compile(r"budget|too deep|nests more|allowance|too large|may have at most|longer than")
_NON_FINITE = "NaN or an infinity"
_MARK_NON_FINITE = (
    'walk(if type == "number" and (isnan or isinfinite) then "not finite" else . end)'
)

compile_expression(".", frozenset())  # raises the recursion limit, which Hypothesis warns of


@dataclass(frozen=True)
class Run:
    """Outputs of a program before it ended, and its end."""

    outputs: list[Any]
    end: str
    message: str = ""

    def __str__(self) -> str:
        """Describe the run in one line."""
        return f"{self.outputs!r}, {self.end}" + (f": {self.message}" if self.message else "")


class LimitError(Exception):
    """Our engine ended the program by a limit that jq does not have."""


def run_jq(source: str, data: JSON, variables: Mapping[str, JSON]) -> Run:
    """Run the C jq; at most 200 outputs are read."""
    try:
        results = iter(jq.compile(source, args=dict(variables)).input_value(data))
    except ValueError as error:
        return Run([], REFUSED, str(error))
    outputs: list[Any] = []
    try:
        for output in results:
            outputs.append(output)
            if len(outputs) == _ENOUGH_OUTPUTS:
                break
    except ValueError as error:
        return Run(outputs, FAILED, str(error))
    return Run(outputs, DONE)


def run_ours(source: str, data: JSON, variables: Mapping[str, JSON]) -> Run:
    """Run our engine for all outputs, by a `try` that shows those before an error."""
    try:
        results = evaluate(f"[try (({source}\n) | [.]) catch null]", data, variables)
    except ExpressionSyntaxError as error:
        return Run([], REFUSED, str(error))
    outputs = [result[0] for result in results[:_ENOUGH_OUTPUTS] if result is not None]
    return Run(outputs, FAILED if None in results[:_ENOUGH_OUTPUTS] else DONE)


def evaluate(source: str, data: JSON, variables: Mapping[str, JSON]) -> Any:
    """Evaluate with our engine (raises LimitError where one of our limits ends it)."""
    try:
        expression = compile_expression(source, frozenset(variables))
        return expression.evaluate(data, variables, Budget())
    except (ExpressionError, ExpressionSyntaxError) as error:
        if _LIMITS.search(str(error)):
            raise LimitError(str(error)) from None
        raise


def difference(source: str, data: JSON, variables: Mapping[str, JSON]) -> str | None:
    """Return where our engine and jq differ, in one line; None where they agree."""
    expected = run_jq(source, data, variables)
    try:
        return _difference(source, data, variables, expected)
    except LimitError:
        return None
    except ExpressionError as error:
        if _NON_FINITE in str(error) and _MARK_NON_FINITE not in source:
            return difference(f"({source}) | {_MARK_NON_FINITE}", data, variables)
        return f"[{source}] fails: {error}; jq's {expected}"


def _difference(
    source: str, data: JSON, variables: Mapping[str, JSON], expected: Run
) -> str | None:
    got = run_ours(source, data, variables)
    if got.end != expected.end or not same(got.outputs, expected.outputs):
        return f"ours {got}; jq's {expected}"
    if expected.end == REFUSED:
        return None
    return _bare_difference(source, data, variables, expected) or _list_difference(
        source, data, variables, expected
    )


def _bare_difference(
    source: str, data: JSON, variables: Mapping[str, JSON], expected: Run
) -> str | None:
    """Compare the first output of the program as it stands."""
    first = expected.outputs[0] if expected.outputs else None
    fails = expected.end == FAILED and not expected.outputs
    try:
        got = evaluate(source, data, variables)
    except ExpressionError as error:
        if fails or _NON_FINITE in str(error):
            return None
        return f"the bare program fails: {error}; jq's {expected}"
    if fails or not same(got, first):
        return f"the bare program: ours {got!r}; jq's {expected}"
    return None


def _list_difference(
    source: str, data: JSON, variables: Mapping[str, JSON], expected: Run
) -> str | None:
    """Compare the program's outputs in a list, which an error takes away."""
    if len(expected.outputs) == _ENOUGH_OUTPUTS:
        return None
    try:
        got = evaluate(f"[{source}\n]", data, variables)
    except ExpressionSyntaxError as error:
        return f"[P] is refused: {error}"
    except ExpressionError as error:
        if expected.end == FAILED or _NON_FINITE in str(error):
            return None
        return f"[P] fails: {error}; jq's {expected}"
    if expected.end == FAILED or not same(got, expected.outputs):
        return f"[P]: ours {got!r}; jq's {expected}"
    return None


def same(left: Any, right: Any, *, in_order: bool = True) -> bool:
    """Return whether two results are the same JSON; 1 is 1.0, not true.

    Args:
        left: one of them.
        right: the other.
        in_order: whether maps must have their keys in the same order.
    """
    same_inside = partial(same, in_order=in_order)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_inside, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        same_keys = list(left) == list(right) if in_order else left.keys() == right.keys()
        return same_keys and all(same_inside(left[key], right[key]) for key in left)
    return bool(left == right)
