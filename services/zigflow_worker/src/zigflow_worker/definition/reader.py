"""Reads what all task kinds share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from zigflow_worker.definition.kinds import TaskKinds, TaskSyntax
from zigflow_worker.definition.model import (
    UNREAD,
    DataRules,
    DurationDefinition,
    ErrorDefinition,
    TaskDefinition,
    TaskList,
)
from zigflow_worker.definition.node_errors import NodeError
from zigflow_worker.definition.nodes import Node
from zigflow_worker.definition.problems import ProblemCollector, ProblemList
from zigflow_worker.definition.schemas import read_schema
from zigflow_worker.definition.spelling import is_meant
from zigflow_worker.durations import UNITS, meant_duration, seconds_of, whole_number
from zigflow_worker.expressions import is_expression
from zigflow_worker.loading import SourceDocument

_TASKS = "[{first: {wait: PT1S}}, {second: {set: {done: true}}}]"
_ELSEWHERE = {
    "catch": "beside 'try'",
    "retry": "into 'catch', beside 'try'",
    "while": "beside 'for'",
}
COMMON_KEYS = ("if", "input", "output", "export", "timeout", "then", "metadata")
"""Keys of tasks of all kinds."""


class Reader(ProblemCollector):
    """Reads what all task kinds share."""

    def __init__(
        self,
        source: SourceDocument,
        kinds: TaskKinds[Reader],
        *,
        strict: bool = True,
        every: ProblemList | None = None,
    ) -> None:
        super().__init__(source, every)
        self._kinds = kinds
        self._strict = strict

    def task_list(self, node: Node, *, minimum: int = 0) -> TaskList:
        """Read a block of tasks."""
        tasks: list[TaskDefinition] = []
        names: set[str] = set()
        for name, task in self._entries(node):
            read = TaskDefinition(name, task)
            with self.collecting_problems():
                with task.part():
                    if name in names:
                        raise task.error(f"two tasks of this block are named '{name}'")
                names.add(name)
                read = self.task(name, task)
            tasks.append(read)
        with node.part():
            if len(node.items(_TASKS)) < minimum:
                raise node.error(f"expected {minimum} or more tasks")
        return TaskList(node.pointer, tuple(tasks), self._names_lost(node))

    def _entries(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Yield name and value of each task; where all mistakes are wanted, of misplaced ones."""
        with node.part():
            yield from node.named_items(_TASKS)
        if self.every is not None:
            for item in _malformed(node):
                if self._has_tasks(item):
                    yield from item.mapping().items()

    def _has_tasks(self, item: Node) -> bool:
        """Return whether a map has tasks by their names, and is not itself a nameless task."""
        try:
            return all(
                self._kinds.kind_of(task, task.mapping()) for task in item.mapping().values()
            )
        except NodeError:
            return False

    def _names_lost(self, node: Node) -> frozenset[str]:
        lost: set[str] = set()
        for item in () if self.every is None else _malformed(node):
            lost.update([item.value] if isinstance(item.value, str) else item.mapping() or [""])
        return frozenset(lost)

    def task(self, name: str, node: Node) -> TaskDefinition:
        """Read one task."""
        fields = node.mapping("{wait: PT1S}")
        kind = None
        with node.part():
            kind = self._kinds.kind_of(node, self._with_loop(node, fields))
            fields = node.fields(
                *(*COMMON_KEYS, *kind.keys),
                required=kind.required,
                inside="with" if "with" in kind.required else "",
                elsewhere=_ELSEWHERE,
            )
        with node.part():
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
            timeout=self.timeout(fields.get("timeout")),
            then=self.directive(fields.get("then")),
            details=self._details(kind, node, fields),
        )

    def _with_loop(self, node: Node, fields: dict[str, Node]) -> dict[str, Node]:
        """Return the keys of a task; where all mistakes are wanted, also a misspelt `for`."""
        if self.every is None or "do" not in fields or {"for", "fork"} & fields.keys():
            return fields
        others = [key for key in fields if key not in (*COMMON_KEYS, "do")]
        return fields | {"for": node.unreadable("for")} if is_meant("for", others) else fields

    def _details(
        self, kind: TaskSyntax[Reader] | None, node: Node, fields: Mapping[str, Node]
    ) -> Any:
        details = UNREAD
        if kind is not None:
            with node.part():
                details = kind.read(fields, self)
        return details

    def any_map(self, node: Node) -> None:
        """Check that a property is a map, with anything in it."""
        if self._strict and not isinstance(node.value, dict):
            raise node.loose_error("expected a map")

    def error_filter(self, node: Node) -> dict[str, Node]:
        """Read the properties that an error must have to be caught."""
        fields = node.fields("type", "status", "instance", "title", "detail")
        with node.part():
            status = fields["status"].value if "status" in fields else 0
            if self._strict and whole_number(status) is None:
                raise fields["status"].loose_error("a status is a number: nothing else matches")
        return fields

    def expression(self, node: Node | None) -> Node | None:
        """Read a property that is an expression, with or without its `${}`."""
        if node is not None and isinstance(node.value, (bool, int, float)):
            with node.part():
                raise node.error(f"expected an expression, not {json.dumps(node.value)}: quote it")
            return None
        return self._text(node)

    def directive(self, node: Node | None) -> Node | None:
        """Read a flow directive; its target is found by the compiler."""
        return self._text(node)

    def _text(self, node: Node | None) -> Node | None:
        if node is not None:
            with node.part():
                node.text()
                return node
        return None

    def duration(self, node: Node) -> DurationDefinition:
        """Read a duration or an expression for one."""
        if is_expression(node.value):
            return DurationDefinition(node, None)
        try:
            return DurationDefinition(node, seconds_of(node.value))
        except ValueError as error:
            raise _duration_error(node, str(error)) from None

    def optional_duration(self, node: Node | None) -> DurationDefinition | None:
        """Read a duration that may be absent."""
        if node is not None:
            with node.part():
                return self.duration(node)
        return None

    def timeout(self, node: Node | None) -> DurationDefinition | Node | None:
        """Read a timeout or the name of a reusable one; it may be absent."""
        if node is None:
            return None
        if isinstance(node.value, str):
            return self._text(node)
        with node.part():
            return self.duration(
                node.fields("after", required=["after"], like="{after: PT30S}", inside="after")[
                    "after"
                ]
            )
        return None

    def error(self, node: Node) -> ErrorDefinition:
        """Read an error to raise."""
        fields = node.fields(
            "type",
            "status",
            "instance",
            "title",
            "detail",
            required=["type", "status"],
            like="{type: https://example.com/errors/not-found, status: 404}",
        )
        for name, part in fields.items():
            with node.part():
                if name != "status":
                    part.text()
                elif not is_expression(part.value):
                    part.integer()
        with node.part():
            error_type = fields["type"].text()
            if self._strict and not is_expression(error_type) and re.search(r"\s", error_type):
                raise fields["type"].loose_error("an error's type is a URI, which has no blanks")
        return ErrorDefinition(
            type=fields["type"],
            status=fields["status"],
            title=fields.get("title"),
            detail=fields.get("detail"),
            instance=fields.get("instance"),
        )


def _duration_error(node: Node, problem: str) -> NodeError:
    """Return the error of a duration, with the one that is meant."""
    match node.value:
        case str() as text if meant := meant_duration(text):
            return node.error(f"{problem}, did you mean '{meant}'?")
        case dict() as units if units:
            return _unit_error(
                node, next((each for each in units if each not in UNITS), ""), problem
            )
    as_in = "" if isinstance(node.value, str) else ", as in PT30S or {seconds: 30}"
    return node.error(f"{problem}{as_in}")


def _unit_error(node: Node, unknown: str, problem: str) -> NodeError:
    if unknown:
        return NodeError(problem, node.child(unknown).pointer, word=unknown, known=UNITS)
    return node.error(f"{problem}; parts of a second are milliseconds")


def _malformed(node: Node) -> list[Node]:
    """Return the items of a block that are no map with one key: texts, and maps with more."""
    if isinstance(node.value, dict):
        return [node]
    items = node.items() if isinstance(node.value, list) else []
    maps = [item for item in items if isinstance(item.value, dict) and len(item.value) != 1]
    return maps + [item for item in items if isinstance(item.value, str)]


def read_rules(node: Node | None, transformation: str) -> DataRules:
    """Read `input`, `output` or `export`."""
    if node is None:
        return DataRules()
    schema = mapping = None
    with node.part():
        fields = node.fields("schema", transformation, like=f"{{{transformation}: .data}}")
        mapping = fields.get(transformation)
        if mapping is not None and not isinstance(mapping.value, (str, dict)):
            with node.part():
                raise mapping.error("expected an expression or a map")
            mapping = None
        schema = read_schema(fields["schema"]) if "schema" in fields else None
    return DataRules(schema, mapping)
