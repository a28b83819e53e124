"""Reads what all task kinds share."""

from __future__ import annotations

import re

from zigflow_worker.definition.kinds import TaskKinds
from zigflow_worker.definition.model import (
    DataRules,
    DurationDefinition,
    ErrorDefinition,
    TaskDefinition,
    TaskList,
)
from zigflow_worker.definition.nodes import LooseNodeError, Node
from zigflow_worker.definition.problems import ProblemCollector
from zigflow_worker.definition.schemas import read_schema
from zigflow_worker.durations import seconds_of, whole_number
from zigflow_worker.expressions import is_expression
from zigflow_worker.loading import SourceDocument

_COMMON_KEYS = ("if", "input", "output", "export", "timeout", "then", "metadata")


class Reader(ProblemCollector):
    """Reads what all task kinds share."""

    def __init__(
        self, source: SourceDocument, kinds: TaskKinds[Reader], *, strict: bool = True
    ) -> None:
        super().__init__(source)
        self._kinds = kinds
        self._strict = strict

    def task_list(self, node: Node, *, minimum: int = 0) -> TaskList:
        """Read a block of tasks."""
        tasks: list[TaskDefinition] = []
        names: set[str] = set()
        for name, task in node.named_items():
            with self.collecting_problems():
                if name in names:
                    raise task.error(f"two tasks of this block are named '{name}'")
                names.add(name)
                tasks.append(self.task(name, task))
        if len(node.items()) < minimum:
            raise node.error(f"expected {minimum} or more tasks")
        return TaskList(node.pointer, tuple(tasks))

    def task(self, name: str, node: Node) -> TaskDefinition:
        """Read one task."""
        fields = node.mapping()
        kind = self._kinds.kind_of(node, fields)
        fields = node.fields(*_COMMON_KEYS, *kind.keys, required=kind.required)
        timeout = fields.get("timeout")
        if "metadata" in fields:
            self.any_map(fields["metadata"])
        return TaskDefinition(
            name=name,
            node=node,
            kind=kind,
            condition=self.expression(fields.get("if")),
            input=read_rules(fields.get("input"), "from"),
            output=read_rules(fields.get("output"), "as"),
            export=read_rules(fields.get("export"), "as"),
            timeout=None if timeout is None else self.timeout(timeout),
            then=self.directive(fields.get("then")),
            details=kind.read(fields, self),
        )

    def any_map(self, node: Node) -> None:
        """Check that a property is a map, with anything in it."""
        if self._strict and not isinstance(node.value, dict):
            raise LooseNodeError("expected a map", node.pointer)

    def error_filter(self, node: Node) -> dict[str, Node]:
        """Read the properties that an error must have to be caught."""
        fields = node.fields("type", "status", "instance", "title", "detail")
        status = fields.get("status")
        if self._strict and status is not None and whole_number(status.value) is None:
            raise LooseNodeError("a status is a number: nothing else matches", status.pointer)
        return fields

    def expression(self, node: Node | None) -> Node | None:
        """Read a property that is an expression, with or without its `${}`."""
        if node is not None:
            node.text()
        return node

    def directive(self, node: Node | None) -> Node | None:
        """Read a flow directive; its target is found by the compiler."""
        if node is not None:
            node.text()
        return node

    def duration(self, node: Node) -> DurationDefinition:
        """Read a duration or an expression for one."""
        if is_expression(node.value):
            return DurationDefinition(node, None)
        try:
            return DurationDefinition(node, seconds_of(node.value))
        except ValueError as error:
            raise node.error(str(error)) from None

    def timeout(self, node: Node) -> DurationDefinition | Node:
        """Read a timeout or the name of a reusable one."""
        if isinstance(node.value, str):
            node.text()
            return node
        return self.duration(node.fields("after", required=["after"])["after"])

    def error(self, node: Node) -> ErrorDefinition:
        """Read an error to raise."""
        fields = node.fields(
            "type", "status", "instance", "title", "detail", required=["type", "status"]
        )
        for name, part in fields.items():
            if name != "status":
                part.text()
            elif not is_expression(part.value):
                part.integer()
        error_type = fields["type"].text()
        if self._strict and not is_expression(error_type) and re.search(r"\s", error_type):
            problem = "an error's type is a URI, which has no blanks"
            raise LooseNodeError(problem, fields["type"].pointer)
        return ErrorDefinition(
            type=fields["type"],
            status=fields["status"],
            title=fields.get("title"),
            detail=fields.get("detail"),
            instance=fields.get("instance"),
        )


def read_rules(node: Node | None, transformation: str) -> DataRules:
    """Read `input`, `output` or `export`."""
    if node is None:
        return DataRules()
    fields = node.fields("schema", transformation)
    schema = fields.get("schema")
    mapping = fields.get(transformation)
    if mapping is not None and not isinstance(mapping.value, (str, dict)):
        raise mapping.error("expected an expression or a map")
    return DataRules(None if schema is None else read_schema(schema), mapping)
