"""The interface of a task kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from zigflow_worker.definition import Node, TaskDefinition
from zigflow_worker.program import Operation

if TYPE_CHECKING:
    from zigflow_worker.compilation import Compiler, Place
    from zigflow_worker.definition import Reader

D = TypeVar("D")


class TaskKind(ABC, Generic[D]):
    """One kind of task: how it is written, compiled and, by its operation, run."""

    keyword: ClassVar[str]
    """The key that makes a task one of this kind."""
    value: ClassVar[str | None] = None
    """What the keyword's value must be, where kinds share a keyword (`call`)."""
    keys: ClassVar[tuple[str, ...]]
    """Keys of a task of this kind, besides those of all tasks."""
    required: ClassVar[tuple[str, ...]]

    @abstractmethod
    def read(self, fields: Mapping[str, Node], reader: "Reader") -> D:
        """Return the typed definition (raises NodeError)."""

    @abstractmethod
    def compile(self, task: TaskDefinition, compiler: "Compiler", place: "Place") -> Operation:
        """Return what runs the task (raises NodeError); `task.details` is what `read` returned."""
