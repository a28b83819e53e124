"""`set`: an output made of expressions."""

from collections.abc import Mapping

from typing_extensions import override

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.execution.frames import Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.expressions import JSON
from zigflow_worker.program import Formula, InlineOperation, Operation
from zigflow_worker.tasks.kind import TaskKind


class SetTask(TaskKind[Node]):
    """Replaces the data by a map with expressions in it, or by an expression's result."""

    keyword = "set"
    keys = ("set",)
    required = ("set",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> Node:
        """Read the map or expression."""
        node = fields["set"]
        if isinstance(node.value, str):
            return node
        if not node.mapping():
            raise node.error("expected at least one value to set")
        return node

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile the map or expression."""
        return SetOperation(compiler.expression_or_template(task.details, place))


class SetOperation(InlineOperation):
    """The output is what was set, alone."""

    def __init__(self, formula: Formula) -> None:
        self.formula: Formula = formula

    @override
    def evaluate(self, run: Interpreter, frame: Frame) -> JSON:
        """Return the new data."""
        return run.value(self.formula, frame, frame.input)
