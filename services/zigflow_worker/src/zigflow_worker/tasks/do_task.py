"""`do`: tasks in order."""

from collections.abc import Mapping

from typing_extensions import override

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import Node, Reader, TaskDefinition, TaskList
from zigflow_worker.execution.frames import Branch, Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.program import Block, Operation
from zigflow_worker.tasks.kind import TaskKind


class DoTask(TaskKind[TaskList]):
    """Runs a block once."""

    keyword = "do"
    keys = ("do",)
    required = ("do",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> TaskList:
        """Read the block."""
        return reader.task_list(fields["do"])

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile the block."""
        return DoOperation(compiler.block(task.details, place))


class DoOperation(Operation):
    """The output is that of the last task."""

    def __init__(self, block: Block) -> None:
        self._block = block

    @override
    def enter(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Begin the block."""
        frame.begin_block(self._block, frame.input)

    @override
    def proceed(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Complete."""
        run.complete(branch, frame, frame.data)
