"""`for`: a block for each item of a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import Node, Reader, TaskDefinition, TaskList
from zigflow_worker.errors import ErrorType, WorkflowError
from zigflow_worker.execution.frames import Branch, Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.execution.pool import PoolReader, PoolWriter
from zigflow_worker.expressions import JSON
from zigflow_worker.program import Block, Formula, Operation
from zigflow_worker.tasks.kind import TaskKind


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

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> ForDefinition:
        """Read the loop."""
        loop = fields["for"].fields("each", "in", "at", required=["in"])
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
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile the loop; its variables are known in `while` and the block."""
        definition: ForDefinition = task.details
        each = compiler.variable(definition.each, "item")
        at = compiler.variable(definition.at, "index")
        if each == at:
            raise task.node.error(f"'{each}' names both the item and its index")
        inside = place.defining(each, at)
        return ForOperation(
            each=each,
            at=at,
            collection=compiler.expression_or_template(definition.collection, place),
            condition=compiler.optional(definition.condition, inside),
            block=compiler.block(definition.do, inside),
        )


class Loop:
    """The state of a `for`: its items and the iteration it is in."""

    __slots__ = ("around", "index", "items")

    def __init__(self, items: list[JSON], around: Mapping[str, JSON], index: int = -1) -> None:
        self.items = items
        self.around = around
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
    def enter(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Fix the items."""
        items = run.value(self.collection, frame, frame.input)
        if not isinstance(items, list):
            raise WorkflowError.of(
                ErrorType.EXPRESSION, f"'for.in' must give a list, not {_type_name(items)}"
            )
        frame.state = Loop(items, frame.variables)
        frame.data = frame.input

    @override
    def proceed(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Begin the next iteration, or complete."""
        loop: Loop = frame.state
        loop.index += 1
        if loop.index < len(loop.items):
            self._set_variables(frame, loop)
            if self.condition is None or run.truth(self.condition, frame, frame.data):
                frame.block = self.block
                frame.index = 0
                return
        frame.variables = loop.around
        run.complete(branch, frame, frame.data)

    def _set_variables(self, frame: Frame, loop: Loop) -> None:
        frame.variables = {
            **loop.around,
            self.each: loop.items[loop.index],
            self.at: loop.index,
        }

    @override
    def dump(self, frame: Frame, pool: PoolWriter) -> JSON:
        """Return the place of the items, and the iteration."""
        loop: Loop = frame.state
        return [pool.add(loop.items), loop.index]

    @override
    def load(
        self, run: Interpreter, branch: Branch, frame: Frame, state: Any, pool: PoolReader
    ) -> None:
        """Restore the loop and the variables of its iteration."""
        items: Any = pool[state[0]]
        frame.state = loop = Loop(items, frame.variables, state[1])
        if 0 <= loop.index < len(items):
            self._set_variables(frame, loop)


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
