"""Extensions of tasks, compiled: which of them surround a task."""

from __future__ import annotations

from collections.abc import Sequence

from zigflow_worker.definition import ExtensionDefinition, TaskDefinition
from zigflow_worker.program.extensions import NO_TARGET, ExtendedOperation, Extension
from zigflow_worker.program.model import Operation, Step

_KEYWORDS = {"composite": ("do", "fork")}
"""Keywords of the tasks that a value of `extend` means, where it is not the keyword itself."""


class ExtensionTable:
    """The extensions of a document, in its order."""

    def __init__(self) -> None:
        self._extensions: list[tuple[str, Extension]] = []

    def add(self, definition: ExtensionDefinition, extension: Extension) -> None:
        """Add a compiled extension; tasks compiled from now on may be surrounded by it."""
        self._extensions.append((definition.extend, extension))

    def of(self, task: TaskDefinition) -> tuple[Extension, ...]:
        """Return the extensions of tasks of this kind."""
        keyword = "" if task.kind is None else task.kind.keyword
        return tuple(
            extension
            for extend, extension in self._extensions
            if extend == "all" or keyword in _KEYWORDS.get(extend, (extend,))
        )


def inner_step(task: TaskDefinition, operation: Operation) -> Step:
    """Return the step of the extended task itself, which has none of its rules."""
    pointer = task.node.pointer
    key = f"{pointer}#extended"
    return Step(pointer, task.name, task.node.value, operation, then=NO_TARGET, key=key)


def extended(inner: Step, extensions: Sequence[Extension]) -> Operation:
    """Return the operation that surrounds a task by its extensions."""
    return ExtendedOperation(inner, tuple(extensions))
