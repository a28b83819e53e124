"""Mistakes of the expressions in a value."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from zigflow_worker.compilation.scope import UNKNOWN
from zigflow_worker.definition import ConsequenceError, Node, NodeError, TextError
from zigflow_worker.expressions import is_expression, keys_read, syntax_mistakes

_VARIABLE = re.compile(r"\$([A-Za-z0-9_]*)")
_ONLY_IN_CALLS = {
    "secrets": "authentications, and in the arguments and 'input.from' of calls",
    "authorization": "'output' and 'export' of calls",
}


def broken_expressions(node: Node, known: frozenset[str]) -> list[NodeError]:
    """Return the mistakes of the expressions in a value, in its order.

    Args:
        node: an expression, with or without its `${}`, or a value that has them inside.
        known: names of the variables that they may read.
    """
    if isinstance(node.value, (dict, list)):
        return [error for part in _expressions_in(node) for error in _mistakes(part, known)]
    return list(_mistakes(node, known))


def _expressions_in(node: Node) -> Iterator[Node]:
    if isinstance(node.value, (dict, list)):
        keys = node.value if isinstance(node.value, dict) else range(len(node.value))
        for key in keys:
            yield from _expressions_in(node.child(key))
    elif is_expression(node.value):
        yield node


def _mistakes(node: Node, variables: frozenset[str]) -> Iterator[NodeError]:
    text = str(node.value)
    if UNKNOWN in variables and not variables.issuperset(_VARIABLE.findall(text)):
        yield ConsequenceError("it may read a variable whose name is wrong", node.pointer)
        return
    misplaced = [name for name in _ONLY_IN_CALLS if name not in variables and keys_read(text, name)]
    for name in misplaced:
        problem = f"'${name}' may only be used in {_ONLY_IN_CALLS[name]}"
        yield TextError(problem, node.pointer, text, max(text.find(f"${name}"), 0))
    for mistake in syntax_mistakes(text, variables.union(misplaced)):
        problem = f"invalid expression: {mistake.problem}{mistake.advice}"
        known = () if mistake.advice else mistake.known
        if mistake.index is None:
            yield node.error(problem)
        else:
            yield TextError(
                problem,
                node.pointer,
                text,
                mistake.index,
                word=mistake.name,
                known=known,
                more=_variables(known) if mistake.name.startswith("$") else "",
            )


def _variables(known: Collection[str]) -> str:
    return f"; there are {', '.join(sorted(known))}" if known else ""
