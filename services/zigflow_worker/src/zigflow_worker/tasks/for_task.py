"""`for`: a block for each item of a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from zigflow_worker.compilation import UNKNOWN, Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition, TaskList
from zigflow_worker.errors import EXPRESSION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Block, Branch, Frame, Operation, Run
from zigflow_worker.program.pool import PoolReader, PoolWriter


@dataclass(frozen=True, slots=True)
class ForDefinition:
    """A loop: `collection` is an expression or an inline list."""

    each: Node | None
    at: Node | None
    collection: Node
    condition: Node | None
    do: TaskList


class ForTask(TaskKind[ForDefinition]):
    """Runs a block for each item, as long as `while` holds."""

    keyword = "for"
    keys = ("for", "while", "do")
    required = ("for", "do")
    carries = ("do",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> ForDefinition:
        node = fields["for"]
        loop: Mapping[str, Node] = {key: node.unreadable(key) for key in ("each", "in", "at")}
        with reader.part():
            loop = node.fields(
                *("each", "in", "at"),
                required=["in"],
                like="{each: item, in: .items}",
                elsewhere={"do": "beside 'for'", "while": "beside 'for'"},
            )
        with reader.part():
            if not isinstance(loop["in"].value, (str, list)):
                raise loop["in"].error("expected an expression or a list")
        return ForDefinition(
            each=loop.get("each"),
            at=loop.get("at"),
            collection=loop["in"],
            condition=reader.expression(fields.get("while")),
            do=reader.task_list(fields["do"]),
        )

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: ForDefinition = task.details
        each = compiler.variable(definition.each, "item")
        at = compiler.variable(definition.at, "index")
        with compiler.part():
            if each == at != UNKNOWN:
                raise task.node.error(f"'{each}' names both the item and its index")
        inside = scope.defining(each, at)
        return ForOperation(
            each=each,
            at=at,
            collection=compiler.expression_or_template(definition.collection, scope),
            condition=compiler.optional(definition.condition, inside),
            block=compiler.block(definition.do, inside),
        )


class Loop:
    """The state of a `for`: its items and the iteration it is in."""

    __slots__ = ("index", "items", "outer_variables")

    def __init__(
        self, items: list[JSON], outer_variables: Mapping[str, JSON], index: int = -1
    ) -> None:
        self.items = items
        self.outer_variables = outer_variables
        self.index = index


@dataclass(slots=True)
class ForOperation(Operation):
    """An iteration's input is the output of the one before; the last output is the task's."""

    each: str
    at: str
    collection: Formula
    condition: Formula | None
    block: Block

    @override
    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:
        items = run.value(self.collection, frame, frame.input)
        if not isinstance(items, list):
            raise WorkflowError.of(
                EXPRESSION, f"'for.in' must give a list, not {_type_name(items)}"
            )
        frame.state = Loop(items, frame.variables)
        frame.data = frame.input

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        loop: Loop = frame.state
        loop.index = index = loop.index + 1
        if index < len(loop.items):
            frame.variables = {
                **loop.outer_variables,
                self.each: loop.items[index],
                self.at: index,
            }
            if self.condition is None or run.truth(self.condition, frame, frame.data):
                frame.block = self.block
                frame.index = 0
                return
        frame.variables = loop.outer_variables
        run.complete(branch, frame, frame.data)

    @override
    def dump(self, frame: Frame, pool: PoolWriter) -> JSON:
        loop: Loop = frame.state
        return [pool.add(loop.items), loop.index]

    @override
    def load(self, frame: Frame, state: Any, pool: PoolReader) -> None:
        items: Any = pool[state[0]]
        index = state[1]
        frame.state = Loop(items, frame.variables, index)
        if 0 <= index < len(items):
            frame.variables = {**frame.variables, self.each: items[index], self.at: index}


def _type_name(value: JSON) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
    return "an object"
