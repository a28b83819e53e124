"""`do`: tasks in order."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition, TaskList
from zigflow_worker.program.model import Block, Branch, Frame, Operation, Run


class DoTask(TaskKind[TaskList]):
    """Runs a block once."""

    keyword = "do"
    keys = ("do",)
    required = ("do",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> TaskList:
        return reader.task_list(fields["do"])

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        return DoOperation(compiler.block(task.details, scope))


class DoOperation(Operation):
    """The output is that of the last task."""

    def __init__(self, block: Block) -> None:
        self._block = block

    @override
    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:
        frame.begin_block(self._block, frame.input)

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        run.complete(branch, frame, frame.data)
