"""`fork`: tasks beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition, TaskList
from zigflow_worker.expressions import JSON
from zigflow_worker.program.model import Block, Branch, Frame, Operation, Run, Step
from zigflow_worker.program.pool import PoolReader


@dataclass(frozen=True, slots=True)
class ForkDefinition:
    """Branches, each a task; competing ones have one winner."""

    branches: TaskList
    compete: bool


class ForkTask(TaskKind[ForkDefinition]):
    """Runs its branches concurrently."""

    keyword = "fork"
    keys = ("fork",)
    required = ("fork",)

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> ForkDefinition:
        fork = fields["fork"].fields(
            "branches", "compete", required=["branches"], like="{branches: [{first: {wait: PT1S}}]}"
        )
        branches = reader.task_list(fork["branches"], minimum=1)
        compete = False
        if "compete" in fork:
            with reader.part():
                compete = fork["compete"].boolean()
        return ForkDefinition(branches, compete)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: ForkDefinition = task.details
        branches = []
        for index, branch in enumerate(definition.branches.tasks):
            with compiler.collecting_problems():
                pointer = f"{definition.branches.pointer}/{index}"
                branches.append(compiler.branch(branch, pointer, scope))
        return ForkOperation(tuple(branches), definition.compete)


class ForkState:
    """The state of a `fork`: were its branches started, and how many outputs are missing."""

    __slots__ = ("missing", "started")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.started = False


class ForkOperation(Operation):
    """The output is a list with each branch's, in order, or the winner's alone."""

    has_branches = True

    def __init__(self, branches: tuple[tuple[Step, Block], ...], compete: bool) -> None:
        self._branches = branches
        self._compete = compete

    @override
    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:
        frame.branches = [Branch(branch) for _ in self._branches]
        frame.state = ForkState(self._missing(frame))
        for child, (root, block) in zip(frame.branches, self._branches, strict=True):
            bottom = Frame(root, frame.input, frame.variables, frame.attempt, run.now)
            run.push_frame(child, bottom, block, frame.input)

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        state: ForkState = frame.state
        if state.missing <= 0:
            outputs = [child.output for child in frame.branches if child.completed]
            run.complete(branch, frame, outputs[0] if self._compete else outputs)
            return
        if not state.started:
            state.started = True
            for child in frame.branches:
                run.start_branch(child)
        run.wait(branch)

    @override
    def branch_ended(self, run: Run, frame: Frame, child: Branch, output: JSON) -> None:
        state: ForkState = frame.state
        state.missing -= 1
        if self._compete:
            for other in frame.branches:
                run.cancel_branch(other)

    @override
    def load(self, frame: Frame, state: Any, pool: PoolReader) -> None:
        frame.state = ForkState(self._missing(frame))

    def _missing(self, frame: Frame) -> int:
        wanted = 1 if self._compete else len(self._branches)
        return wanted - sum(child.completed for child in frame.branches)
