"""Which parts of a call the run evaluates, and which its activity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zigflow_worker.definition import DataRules, Node, TaskDefinition
from zigflow_worker.expressions import is_expression, keys_read
from zigflow_worker.program.calls import EXPORTED
from zigflow_worker.program.formulas import Rules

SECRETS, AUTHORIZATION = "secrets", "authorization"
"""Variables that only activities have."""


def reads(node: Node | None, variable: str) -> bool:
    """Return whether a property where a string is an expression reads a variable (no `$`)."""
    if node is None:
        return False
    if isinstance(node.value, str):
        return bool(keys_read(node.value, variable))
    return any(keys_read(text.value, variable) for text in expressions_in(node))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class CallRules:
    """The rules around a call that the run itself applies."""

    input: DataRules
    output: DataRules
    export: DataRules
    is_exported: bool
    """The activity makes the context."""

    @classmethod
    def of_run(cls, task: TaskDefinition) -> CallRules:
        """Return all the rules of a task, which the run applies itself."""
        return cls(task.input, task.output, task.export, is_exported=False)

    @classmethod
    def of(cls, task: TaskDefinition) -> CallRules:
        """Return a task's rules without those that name `$secrets` and `$authorization`."""
        data, output, export = task.input, task.output, task.export
        if reads(data.transformation, SECRETS):
            data = replace(data, transformation=None)
        if reads_authorization(task):
            output = replace(output, transformation=None)
            export = replace(export, transformation=None)
        moved = export is not task.export and task.export.transformation is not None
        return cls(data, output, export, moved)

    def exported(self, rules: Rules) -> Rules:
        """Return the compiled `export`."""
        return replace(rules, transformation=EXPORTED) if self.is_exported else rules


def reads_authorization(task: TaskDefinition) -> bool:
    """Return whether the output or export of a task names `$authorization`."""
    rules = (task.output, task.export)
    return any(reads(rule.transformation, AUTHORIZATION) for rule in rules)


def expressions_in(node: Node) -> Iterator[Node]:
    """Yield the expressions inside a value."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part.value, dict):
            pending.extend(part.child(key) for key in part.value)
        elif isinstance(part.value, list):
            pending.extend(part.child(index) for index in range(len(part.value)))
        elif is_expression(part.value):
            yield part
