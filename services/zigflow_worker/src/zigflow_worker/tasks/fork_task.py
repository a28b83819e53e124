"""`fork`: tasks beside each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import Node, Reader, TaskDefinition, TaskList
from zigflow_worker.execution.carrying import dump_branch, load_branch
from zigflow_worker.execution.frames import Branch, BranchState, Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.execution.pool import PoolReader, PoolWriter
from zigflow_worker.expressions import JSON
from zigflow_worker.program import Block, Operation, Step
from zigflow_worker.tasks.kind import TaskKind


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
        """Read the branches."""
        fork = fields["fork"].fields("branches", "compete", required=["branches"])
        return ForkDefinition(
            branches=reader.task_list(fork["branches"], minimum=1),
            compete=fork["compete"].boolean() if "compete" in fork else False,
        )

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile each branch on its own: flow does not lead from one to another."""
        definition: ForkDefinition = task.details
        branches = []
        for index, branch in enumerate(definition.branches.tasks):
            with compiler.collecting():
                pointer = f"{definition.branches.pointer}/{index}"
                branches.append(compiler.branch(branch, pointer, place))
        return ForkOperation(tuple(branches), definition.compete)


class Fork:
    """The state of a `fork`: its branches, and the outputs of those that ended."""

    __slots__ = ("branches", "compete", "outputs", "started")

    def __init__(self, parent: Branch, size: int, *, compete: bool) -> None:
        self.branches = [Branch(parent, index) for index in range(size)]
        self.outputs: dict[int, JSON] = {}
        self.compete = compete
        self.started = False

    def done(self, run: Interpreter, branch: Branch, output: JSON) -> None:
        """Keep a branch's output; a winner ends the race at once."""
        self.outputs[branch.index] = output
        if self.compete:
            self.cancel(run)

    def cancel(self, run: Interpreter) -> None:
        """Stop the branches that are still running."""
        for branch in self.branches:
            run.cancel_branch(branch)

    @property
    def ended(self) -> bool:
        """Whether there is an output."""
        return len(self.outputs) >= (1 if self.compete else len(self.branches))


class ForkOperation(Operation):
    """The output is a list with each branch's, in order, or the winner's alone."""

    def __init__(self, branches: tuple[tuple[Step, Block], ...], compete: bool) -> None:
        self._branches = branches
        self._compete = compete

    @override
    def enter(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Give each branch its stack."""
        frame.state = fork = Fork(branch, len(self._branches), compete=self._compete)
        for child, (root, block) in zip(fork.branches, self._branches, strict=True):
            bottom = Frame(root, frame.input, frame.variables, frame.attempt, run.now)
            run.push(child, bottom, block, frame.input)

    @override
    def proceed(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Start the branches, wait for them, complete."""
        fork: Fork = frame.state
        if fork.ended:
            outputs: list[JSON] = [fork.outputs[index] for index in sorted(fork.outputs)]
            run.complete(branch, frame, outputs[0] if fork.compete else outputs)
            return
        if not fork.started:
            fork.started = True
            for child in fork.branches:
                if child.state is not BranchState.ENDED:
                    run.scheduling.enqueue(child)
        run.wait(branch)

    @override
    def abandon(self, run: Interpreter, frame: Frame) -> None:
        """Stop the branches."""
        fork: Fork = frame.state
        fork.cancel(run)

    @override
    def dump(self, frame: Frame, pool: PoolWriter) -> JSON:
        """Return the outputs, and the stacks of the other branches."""
        fork: Fork = frame.state
        return [
            {"output": pool.add(fork.outputs[child.index])}
            if child.index in fork.outputs
            else {"stack": dump_branch(child, pool)}
            for child in fork.branches
        ]

    @override
    def load(
        self, run: Interpreter, branch: Branch, frame: Frame, state: Any, pool: PoolReader
    ) -> None:
        """Restore outputs and stacks; `proceed` starts the branches again."""
        frame.state = fork = Fork(branch, len(self._branches), compete=self._compete)
        for child, kept in zip(fork.branches, state, strict=True):
            if "output" in kept:
                child.state = BranchState.ENDED
                fork.outputs[child.index] = pool[kept["output"]]
            else:
                load_branch(run, child, kept["stack"], pool, frame.variables)
