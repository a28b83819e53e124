"""One compiled expression."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import cache

from zigflow_worker.expressions import ast_limits, engine, nodes
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.engine import JSON, Getter, Node, Run
from zigflow_worker.expressions.errors import ExpressionError, ExpressionSyntaxError
from zigflow_worker.expressions.instrumentation import instrument
from zigflow_worker.expressions.metering import MAX_FRAMES, Meter, start

MAX_SOURCE = 20_000
MAX_TREE_DEPTH = 200
MAX_INTERPOLATIONS = 500
"""`\\(...)` in strings: purejq reads those inside each other again at each level."""
_RESERVED_FRAMES = 3_000
"""Frames for whoever evaluates, and for what the engine does with data of the allowed depth."""


def is_expression(value: object) -> bool:
    """Return whether `value` is an expression: a string that, once trimmed, is `${...}`."""
    if not isinstance(value, str):
        return False
    trimmed = value.strip()
    return trimmed.startswith("${") and trimmed.endswith("}")


class Expression:
    """A compiled expression; immutable, so that runs share it."""

    __slots__ = ("_builds", "_frames", "_getter", "_run", "source")

    def __init__(self, source: str, tree: Node) -> None:
        self.source = source
        self._getter: Getter | None = engine.single_getter(tree)
        self._run: Run = engine.compile_node(tree)
        self._frames = ast_limits.frames(tree)
        self._builds = _multiplies(tree)

    def evaluate(
        self,
        input: JSON,  # noqa: A002 - the word of jq and of the specification
        variables: Mapping[str, JSON],
        budget: Budget | None = None,
    ) -> JSON:
        """Return the first output, null when there is none (raises ExpressionError).

        The result may share parts with the input and the variables, which stay unchanged.
        """
        budget = Budget() if budget is None else budget
        budget.spend(1)
        try:
            if self._getter is not None:
                return self._getter(input, engine.environment(variables))
            meter = start(budget, self._frames)
            result = next(self._run(input, engine.environment(variables)), None)
        except engine.JqError as error:
            raise ExpressionError(_first_line(str(error))) from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            if isinstance(error, ExpressionError):
                raise
            # The engine does not check every operand; its slips are the expression's errors.
            raise ExpressionError(f"expression failed: {type(error).__name__}") from None
        if self._builds or meter.has_non_finite:
            _check_result(result, meter)
        return result


def compile_expression(source: str, variables: frozenset[str]) -> Expression:
    """Compile jq, with or without its `${}` (raises ExpressionSyntaxError)."""
    text = source.strip()[2:-1] if is_expression(source) else source
    _prepare()
    if len(text) > MAX_SOURCE:
        raise ExpressionSyntaxError(f"expression is longer than {MAX_SOURCE} characters")
    if text.count("\\(") > MAX_INTERPOLATIONS:
        raise ExpressionSyntaxError(f"expression has more than {MAX_INTERPOLATIONS} \\(...)")
    tree = _parse(text)
    if ast_limits.depth(tree, MAX_TREE_DEPTH) > MAX_TREE_DEPTH:
        raise _too_deep()
    tree = instrument(tree, variables)
    if ast_limits.frames(tree) > MAX_FRAMES:
        raise _too_deep()
    return Expression(text, tree)


@cache
def _prepare() -> None:
    """Prepare the engine, and room for our limits to be met before the interpreter's own."""
    nodes.register()
    sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_FRAMES + _RESERVED_FRAMES))


def _parse(text: str) -> Node:
    if not text.strip():
        raise ExpressionSyntaxError("expression is empty")
    try:
        return engine.parse(text)
    except engine.JqParseError as error:
        message = _first_line(str(error)).replace("Unexpected token None", "Unexpected end")
        raise ExpressionSyntaxError(message.replace("EOF None", "the end")) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # int() refuses very long numbers
        raise ExpressionSyntaxError("a number is out of range") from None


def _too_deep() -> ExpressionSyntaxError:
    return ExpressionSyntaxError(f"expression nests more than {MAX_TREE_DEPTH} deep")


def _first_line(message: str) -> str:
    return " ".join(message.split())[:500]


def _check_result(result: JSON, meter: Meter) -> None:
    """Refuse what JSON cannot say, or could say only at length."""
    meter.count_value(result)
    if not meter.has_non_finite:
        return
    pending = [result]
    while pending:
        value = pending.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ExpressionError("the result holds NaN or an infinity, which JSON cannot say")
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())


_BUILDING = frozenset({"collect", "+", "map", "update", "assign", "setpath", "walk", "add"})
_FEW = 4


def _multiplies(tree: Node) -> bool:
    """Return whether a result may be far larger than the data it is made of, by sharing parts."""
    built = 0
    pending: list[object] = [tree]
    while pending:
        part = pending.pop()
        if isinstance(part, tuple) and part:
            kind = part[0]
            if kind in ("reduce", "foreach", ast_limits.DEFINE):
                return True
            if kind == "object" or (kind == ast_limits.BUILTIN and part[1][0] in _BUILDING):
                built += 1
            if kind == ast_limits.BUILTIN and part[1][0] in ("until", "while", "repeat", "recurse"):
                return True
        if isinstance(part, (tuple, list)):
            pending.extend(part)
    return built > _FEW
