"""Protocols of a task kind and of all kinds, as the definition needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from zigflow_worker.definition.nodes import Node

Reader_contra = TypeVar("Reader_contra", contravariant=True)


class TaskSyntax(Protocol[Reader_contra]):
    """The syntax of tasks of one kind."""

    keyword: ClassVar[str]
    """The key that makes a task one of this kind."""
    variant: ClassVar[str | None] = None
    """The kind among those that share the keyword (`call`); None: any other, or the only one."""
    keys: ClassVar[tuple[str, ...]]
    """Keys of a task of this kind, besides those of all tasks."""
    required: ClassVar[tuple[str, ...]]

    def read(self, fields: Mapping[str, Node], reader: Reader_contra) -> Any:
        """Return the kind's own part of the definition (raises NodeError)."""


class TaskKinds(Protocol[Reader_contra]):
    """All kinds of tasks."""

    def kind_of(self, task: Node, fields: Mapping[str, Node]) -> TaskSyntax[Reader_contra]:
        """Return the kind of a task (raises NodeError)."""
