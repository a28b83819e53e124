"""Variables that an expression reads, found without evaluating it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from zigflow_worker.expressions import syntax
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.expression import is_expression
from zigflow_worker.expressions.parser import parse

WHOLE = None
"""Stands for a use of a variable that is not followed by a key written out."""


def keys_read(source: str, variable: str) -> frozenset[str | None]:
    """Return the keys by which jq, with or without its `${}`, looks into a variable (no `$`).

    `$secrets.a` and `$secrets["a"]` read the key "a"; any other use counts as `WHOLE`. Empty
    where the variable is not read, and where the text is no expression.
    """
    if variable not in source:
        return frozenset()
    text = source.strip()[2:-1] if is_expression(source) else source
    try:
        tree = parse(text)
    except (ExpressionSyntaxError, RecursionError):
        return frozenset()
    return frozenset(_keys(tree, variable))


def _keys(tree: syntax.Node, variable: str) -> Iterator[str | None]:
    pending: list[Any] = [tree]
    while pending:
        part = pending.pop()
        if isinstance(part, (list, tuple)):
            pending.extend(part)
        elif isinstance(part, syntax.Variable):
            if _is_variable(part, variable):
                yield WHOLE
        elif isinstance(part, syntax.Path) and _is_variable(part.subject, variable):
            yield _constant_key(part.steps)
            pending.extend(part.steps)
        elif is_dataclass(part):
            pending.extend(getattr(part, field.name) for field in fields(part))


def _is_variable(node: syntax.Node, name: str) -> bool:
    return isinstance(node, syntax.Variable) and node.name == f"${name}"


def _constant_key(steps: list[syntax.Step]) -> str | None:
    first = steps[0] if steps else None
    if isinstance(first, syntax.IndexStep) and isinstance(first.key, syntax.Constant):
        key = first.key.value
        return key if isinstance(key, str) else WHOLE
    return WHOLE
