"""Compiles the functions of a document, each once, however many tasks call it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zigflow_worker.definition import ConsequenceError, Node, NodeError, TaskDefinition
from zigflow_worker.program.model import Block

CALLS = ("agent", "grpc", "http", "openapi")
"""Calls of the language that this release has."""


class FunctionTable:
    """The blocks of a document's functions, and which function calls which."""

    def __init__(self, functions: Mapping[str, TaskDefinition], are_unread: bool = False) -> None:
        self._are_unread = are_unread
        self._blocks = {
            name: Block(function.node.pointer, ()) for name, function in functions.items()
        }
        self._calls: dict[str, dict[str, Node]] = {name: {} for name in functions}

    def call(self, node: Node, caller: str | None) -> Block:
        """Return the block of the function that a task calls, compiled or not yet.

        Args:
            node: the function's name.
            caller: name of the function that the task is in, or None.

        Raises:
            NodeError: there is no such function.
        """
        name = node.text()
        if name not in self._blocks:
            if self._are_unread:
                raise ConsequenceError(f"'{name}' is not known", node.pointer)
            known = (*CALLS, *self._blocks)
            message = f"'{name}' is neither a call of the language nor {self._known()}"
            raise node.error(message, known=known, more=f"; calls are {', '.join(CALLS)}")
        if caller is not None:
            self._calls[caller].setdefault(name, node)
        return self._blocks[name]

    def block(self, name: str) -> Block:
        """Return a function's block, to be completed."""
        return self._blocks[name]

    def problems(self) -> Iterator[NodeError]:
        """Yield a problem for each function that would call itself, by itself or by others."""
        done: set[str] = set()
        for first in self._calls:
            path = [first]
            pending = [iter(self._calls[first].items())]
            while pending:
                name, node = next(pending[-1], (None, None))
                if name is None or node is None:
                    pending.pop()
                    done.add(path.pop())
                elif name in path:
                    circle = " → ".join([*path[path.index(name) :], name])
                    yield node.error(f"a function cannot call itself: {circle}")
                elif name not in done:
                    path.append(name)
                    pending.append(iter(self._calls[name].items()))

    def _known(self) -> str:
        if not self._blocks:
            return "a function: the document has no 'use.functions'"
        return f"one of its functions: {', '.join(self._blocks)}"
