"""The typed, immutable model of a document.

A `Node` is an expression or literal that is compiled later, with its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zigflow_worker.definition.kinds import TaskSyntax
from zigflow_worker.definition.nodes import Node
from zigflow_worker.expressions import JSON

UNREAD: Final = object()
"""Stands for a part that is not read because of a mistake."""


@dataclass(frozen=True, slots=True)
class DurationDefinition:
    """A duration: `seconds`, or else an expression for it in `node`."""

    node: Node
    seconds: float | None


@dataclass(frozen=True, slots=True)
class SchemaResource:
    """A schema that is fetched, and the node that has its URI."""

    node: Node
    uri: str
    authentication: Node | None = None


@dataclass(frozen=True, slots=True)
class DataRules:
    """Rules for data at one border: a schema it must satisfy, and a transformation."""

    schema: Node | SchemaResource | None = None
    transformation: Node | None = None


@dataclass(frozen=True, slots=True)
class ErrorDefinition:
    """An error to raise. Every part may be an expression."""

    type: Node
    status: Node
    title: Node | None
    detail: Node | None
    instance: Node | None


@dataclass(frozen=True, slots=True)
class RetryDefinition:
    """Limits and delays of the retries of a block.

    `attempts` counts the retries after the first try; `backoff` is "constant", "linear" or
    "exponential".
    """

    when: Node | None
    except_when: Node | None
    delay: DurationDefinition | None
    backoff: str
    attempts: int | None
    attempt_duration: DurationDefinition | None
    duration: DurationDefinition | None
    jitter: tuple[DurationDefinition, DurationDefinition] | None


@dataclass(frozen=True, slots=True)
class AuthenticationDefinition:
    """An authentication policy. Its texts may be expressions."""

    node: Node
    """The whole policy: the scheme's name with its settings, URI templates in their parts."""
    scheme: str
    secret: Node | None = None
    """The name of the secret that has the settings, where they are not in the document."""


@dataclass(frozen=True, slots=True)
class TaskList:
    """A block: tasks in order, each name once."""

    pointer: str
    tasks: tuple[TaskDefinition, ...]
    lost: frozenset[str] = frozenset()
    """Names that other tasks may have, which are not read because of mistakes; "": any name."""


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """One task: what all kinds share, and `details`, which its kind reads and compiles."""

    name: str
    node: Node
    kind: TaskSyntax[Any] | None = None
    """None: it cannot be told because of a mistake."""
    details: Any = UNREAD
    condition: Node | None = None
    input: DataRules = DataRules()
    output: DataRules = DataRules()
    export: DataRules = DataRules()
    timeout: DurationDefinition | Node | None = None
    """A duration, or the name of a reusable one."""
    then: Node | None = None


@dataclass(frozen=True, slots=True)
class ExtensionDefinition:
    """Tasks before and after each task that it extends; `extend` is a kind, or "all"."""

    extend: str
    when: Node | None
    before: TaskList | None
    after: TaskList | None


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """One document."""

    namespace: str
    name: str
    version: str
    source: JSON
    do: TaskList
    input: DataRules = DataRules()
    output: DataRules = DataRules()
    timeout: DurationDefinition | Node | None = None
    authentications: Mapping[str, AuthenticationDefinition] = field(default_factory=dict)
    errors: Mapping[str, ErrorDefinition] = field(default_factory=dict)
    retries: Mapping[str, RetryDefinition] = field(default_factory=dict)
    timeouts: Mapping[str, DurationDefinition] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of the secrets that tasks may use."""
    functions: Mapping[str, TaskDefinition] = field(default_factory=dict)
    extensions: tuple[ExtensionDefinition, ...] = ()
    unread: frozenset[str] = frozenset()
    """Sections of `use`, and "expressions", of which nothing is known because of a mistake."""
