"""Tasks that extensions surround with tasks of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import override

from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Block, Branch, Frame, Operation, Run, Step
from zigflow_worker.program.pool import PoolReader, PoolWriter

TASK_VARIABLE = "task"
"""In an extension's tasks, the extended task: who has it is inside an extension."""
NO_TARGET = -2
"""The `then` of an extended task's step: the task around it has the document's."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A compiled extension. Leaving `before` by `exit` sets an index beyond the block's size."""

    when: Formula | None
    before: Block | None
    after: Block | None


Phase = Literal["before", "task", "after"]


class ExtensionState:
    """The state of an extended task."""

    __slots__ = ("applying", "description", "outer_variables", "output", "phase", "place", "target")

    def __init__(self, outer_variables: Mapping[str, JSON]) -> None:
        self.outer_variables = outer_variables
        self.phase: Phase = "before"
        self.applying: list[int] = []
        """Indexes of the extensions that apply."""
        self.place = 0
        """Those whose tasks of this phase have begun."""
        self.output: JSON = None
        """The extended task's."""
        self.target: int | None = None
        self.description: JSON = None
        """`$task` of the extensions' tasks."""


class ExtendedOperation(Operation):
    """The output is the extended task's, or that of the task in `before` that exits.

    `when` is evaluated once, before the task; tasks that an extension's tasks cause, for instance
    those of a function, are not extended.
    """

    def __init__(self, inner: Step, extensions: tuple[Extension, ...]) -> None:
        self._inner = inner
        self._extensions = extensions

    @override
    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:
        state = frame.state = ExtensionState(frame.variables)
        if TASK_VARIABLE not in frame.variables:
            state.applying = [
                index
                for index, extension in enumerate(self._extensions)
                if extension.when is None or run.truth(extension.when, frame, frame.input)
            ]
        self._show_task(run, frame)

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        state: ExtensionState = frame.state
        match state.phase:
            case "before" if frame.block is not None and frame.index > frame.block.size:
                self._complete(run, branch, frame, frame.data)
            case "before" if block := self._next_block(state):
                frame.begin_block(block, frame.input)
            case "before":
                self._begin_task(run, branch, frame)
            case "task":
                self._end_task(run, frame)
            case "after" if block := self._next_block(state):
                frame.begin_block(block, state.output)
            case "after":
                self._complete(run, branch, frame, state.output)

    def _next_block(self, state: ExtensionState) -> Block | None:
        while state.place < len(state.applying):
            extension = self._extensions[state.applying[state.place]]
            state.place += 1
            block = extension.before if state.phase == "before" else extension.after
            if block is not None:
                return block
        return None

    def _begin_task(self, run: Run, branch: Branch, frame: Frame) -> None:
        state: ExtensionState = frame.state
        state.phase = "task"
        frame.block = None
        frame.variables = state.outer_variables
        inner = Frame(self._inner, frame.raw, frame.variables, frame.attempt, frame.started)
        inner.input = frame.input
        inner.entry = frame.entry
        run.push_frame(branch, inner, None, None)
        self._inner.operation.enter(run, branch, inner)

    def _end_task(self, run: Run, frame: Frame) -> None:
        state: ExtensionState = frame.state
        state.phase = "after"
        state.place = 0
        state.target = None if frame.index == NO_TARGET else frame.index
        state.output = frame.output = frame.data
        self._show_task(run, frame)

    def _show_task(self, run: Run, frame: Frame) -> None:
        state: ExtensionState = frame.state
        if state.applying:
            state.description = run.describe(frame)
            frame.variables = {**state.outer_variables, TASK_VARIABLE: state.description}

    def _complete(self, run: Run, branch: Branch, frame: Frame, output: JSON) -> None:
        state: ExtensionState = frame.state
        frame.variables = state.outer_variables
        frame.target = state.target
        run.complete(branch, frame, output)

    @override
    def dump(self, frame: Frame, pool: PoolWriter) -> JSON:
        state: ExtensionState = frame.state
        values = [pool.add(state.output), pool.add(state.description)]
        return [state.phase, list(state.applying), state.place, state.target, *values]

    @override
    def load(self, frame: Frame, state: Any, pool: PoolReader) -> None:
        frame.state = restored = ExtensionState(frame.variables)
        restored.phase, restored.applying, restored.place, restored.target = state[:4]
        restored.output, restored.description = pool[state[4]], pool[state[5]]
        if restored.phase != "task" and restored.applying:
            frame.variables = {**frame.variables, TASK_VARIABLE: restored.description}
