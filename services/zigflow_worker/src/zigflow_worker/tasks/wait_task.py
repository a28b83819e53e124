"""`wait`: a pause."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from stigma.contracts.engine_summaries import TimerKind, TimerUse
from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import DurationDefinition, Node, Reader, TaskDefinition
from zigflow_worker.program.formulas import DurationFormula
from zigflow_worker.program.model import Branch, Frame, Operation, Run


class WaitTask(TaskKind[DurationDefinition]):
    """Waits for a duration."""

    keyword = "wait"
    keys = ("wait",)
    required = ("wait",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> DurationDefinition:
        return reader.duration(fields["wait"])

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        return WaitOperation(compiler.duration(task.details, scope))


class WaitOperation(Operation):
    """The output is the input. The state is the absolute time at which the wait ends."""

    def __init__(self, duration: DurationFormula) -> None:
        self._duration = duration

    @override
    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:
        frame.state = run.now + run.seconds(self._duration, frame, frame.input)

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        if run.is_past(frame.state):
            run.complete(branch, frame, frame.input)
        else:
            run.wait(branch, until=frame.state, use=TimerUse(TimerKind.WAIT, frame.step.pointer))
