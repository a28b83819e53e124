"""Expressions of approval rules, which the engine checks as those of a document's tasks."""

from __future__ import annotations

import json
from typing import Any

_VALUE_BEGINS = '"${ '


def inner_expression(text: str) -> str:
    """Return the expression of a rule without the `${}` that it may have."""
    stripped = text.strip()
    return stripped[2:-1] if stripped.startswith("${") and stripped.endswith("}") else stripped


def checking_task(name: str, expression: str) -> dict[str, Any]:
    """Return a task of a document that has an expression, without its `${}`."""
    return {name: {"set": {"value": f"${{ {expression} }}"}}}


def with_place(message: str, line: str, column: int, expression: str) -> str:
    """Return what is wrong with a checked expression, with the place in it where it has one there.

    Args:
        message: of the engine.
        line: of JSON, with the one task of that expression.
        column: of the mistake in that line, from 1.
        expression: without its `${}`.
    """
    begin, end = line.index(_VALUE_BEGINS) + len(_VALUE_BEGINS), column - 1
    if not begin <= end <= len(line):
        return message
    before = json.loads(f'"{line[begin:end]}"')[: len(expression)]
    number, place = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{message} at line {number}, column {place}"
