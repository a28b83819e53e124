"""Expressions of approval rules, which the engine checks as those of a document's tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stigma.contracts import limits

_HEAD = {"dsl": "1.0.0", "namespace": "rules", "name": "rules", "version": "1.0.0"}
_VALUE_BEGINS = '"${ '
_FIRST_LINE = 2


def inner_expression(text: str) -> str:
    """Return the expression of a rule without the `${}` that it may have."""
    stripped = text.strip()
    return stripped[2:-1] if stripped.startswith("${") and stripped.endswith("}") else stripped


class CheckingDocument:
    """A document that has expressions to be checked, a task and a line each.

    Args:
        expressions: without their `${}`.
    """

    def __init__(self, expressions: Sequence[str]) -> None:
        self._expressions = expressions
        self._tasks = [
            json.dumps({f"rule{at}": {"set": {"value": f"${{ {each} }}"}}})
            for at, each in enumerate(expressions)
        ]
        tasks = ",\n".join(self._tasks)
        self.text = f'{{"document": {json.dumps(_HEAD)}, "do": [\n{tasks}\n]}}'

    def place(self, line: int, column: int, message: str) -> tuple[int, str] | None:
        """Return the index of the expression that a problem is of, and the message with its place.

        None: it is of none of them, but of the whole document, also where that is too large for
        the engine up to one of them, or not known.

        Args:
            line: of the problem in the document, from 1; 0: not known.
            column: from 1.
            message: of the engine.
        """
        at = line - _FIRST_LINE
        if not 0 <= at < len(self._tasks) or message.startswith(limits.DOCUMENT_TOO_LARGE):
            return None
        return at, _with_place(message, self._tasks[at], column, self._expressions[at])


def _with_place(message: str, task: str, column: int, expression: str) -> str:
    begin, end = task.index(_VALUE_BEGINS) + len(_VALUE_BEGINS), column - 1
    if not begin <= end <= len(task):
        return message
    before = json.loads(f'"{task[begin:end]}"')[: len(expression)]
    number, place = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{message} at line {number}, column {place}"
