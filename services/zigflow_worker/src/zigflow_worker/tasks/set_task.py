"""`set`: an output made of expressions."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Frame, InlineOperation, Operation, Run


class SetTask(TaskKind[Node]):
    """Replaces the data by a map with expressions in it, or by an expression's result."""

    keyword = "set"
    keys = ("set",)
    required = ("set",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> Node:
        node = fields["set"]
        if isinstance(node.value, str):
            return node
        if not node.mapping():
            raise node.error("expected at least one value to set")
        return node

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        return SetOperation(compiler.expression_or_template(task.details, scope))


class SetOperation(InlineOperation):
    """The output is what was set, alone."""

    def __init__(self, formula: Formula) -> None:
        self.formula: Formula = formula

    @override
    def evaluate(self, run: Run, frame: Frame) -> JSON:
        return run.value(self.formula, frame, frame.input)
