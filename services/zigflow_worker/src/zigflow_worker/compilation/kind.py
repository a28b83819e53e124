"""The interface of a task kind, and of all kinds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from typing_extensions import override

from zigflow_worker.compilation.compiler import Compiler
from zigflow_worker.compilation.scope import CompileScope
from zigflow_worker.definition import Node, Reader, TaskDefinition, TaskKinds, TaskSyntax
from zigflow_worker.program.model import Operation

D = TypeVar("D")


class TaskKind(TaskSyntax[Reader], Generic[D]):
    """One kind of task: how it is written, compiled and, by its operation, run."""

    carries: ClassVar[tuple[str, ...]] = ()
    """Keywords of other kinds that its tasks have as mere keys."""
    is_call: ClassVar[bool] = False
    """It calls the outside by `CallCompiler`: its tasks may name `$secrets`."""

    def variant_of(self, value: Node) -> str:
        """Return the variant that the keyword's value names (raises NodeError).

        All kinds that share a keyword agree on it.
        """
        return value.text()

    @override
    @abstractmethod
    def read(self, fields: Mapping[str, Node], reader: Reader) -> D: ...

    @abstractmethod
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        """Return what runs the task (raises NodeError); `task.details` is what `read` returned."""


class CompilableKinds(TaskKinds[Reader], Protocol):
    """All kinds of tasks, for documents that are compiled and not only read."""

    @override
    def kind_of(self, task: Node, fields: Mapping[str, Node]) -> TaskKind[Any]: ...
