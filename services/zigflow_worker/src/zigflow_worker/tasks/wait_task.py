"""`wait`: a pause."""

from collections.abc import Mapping

from typing_extensions import override

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import DurationDefinition, Node, Reader, TaskDefinition
from zigflow_worker.execution.frames import Branch, Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.program import DurationFormula, Operation
from zigflow_worker.tasks.kind import TaskKind


class WaitTask(TaskKind[DurationDefinition]):
    """Waits for a duration."""

    keyword = "wait"
    keys = ("wait",)
    required = ("wait",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> DurationDefinition:
        """Read the duration."""
        return reader.duration(fields["wait"])

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile the duration."""
        return WaitOperation(compiler.duration(task.details, place))


class WaitOperation(Operation):
    """The output is the input. The state is the absolute time at which the wait ends."""

    def __init__(self, duration: DurationFormula) -> None:
        self._duration = duration

    @override
    def enter(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Fix the time."""
        frame.state = run.now + run.seconds(self._duration, frame, frame.input)

    @override
    def proceed(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Complete when the time has come."""
        if run.is_past(frame.state):
            run.complete(branch, frame, frame.input)
        else:
            run.wait(branch, until=frame.state)
