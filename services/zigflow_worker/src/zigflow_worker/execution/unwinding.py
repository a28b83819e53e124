"""Ends tasks that do not complete: errors, deadlines and cancellation unwind their stacks."""

from __future__ import annotations

from typing_extensions import override

from zigflow_worker.errors import EXPRESSION, TIMEOUT, WorkflowError
from zigflow_worker.execution.dataflow import DataFlow, RunFacts
from zigflow_worker.execution.scheduling import Scheduling
from zigflow_worker.execution.trace import ENDED, STATUS
from zigflow_worker.expressions import ExpressionError
from zigflow_worker.program.model import Branch, BranchState, Frame, Run, Step


class Unwinding(DataFlow, Run):
    """The part of a run that takes frames off its stacks before they complete."""

    def __init__(self, facts: RunFacts, scheduling: Scheduling) -> None:
        super().__init__(facts)
        self.scheduling = scheduling
        self.failure: WorkflowError | None = None
        self.ended = False

    @override
    def patched(self, change: str) -> bool:
        return self.scheduling.patched(change)

    def fail(self, error: WorkflowError, branch: Branch) -> None:
        """End the run with an error that nothing may catch, at a branch's present task."""
        top = branch.stack[-1].step if branch.stack else self.facts.program.root
        self._fail(self._located(error, top))

    def _fail(self, error: WorkflowError) -> None:
        self.failure = error
        self.ended = True

    def _check_deadlines(self, branch: Branch) -> None:
        for height, frame in enumerate(branch.stack):
            if frame.deadline is not None and self.is_past(frame.deadline):
                pointer = frame.step.pointer or "/"
                error = WorkflowError.of(TIMEOUT, "the time allowed has passed", pointer)
                self._unwind_frames(branch, height, "faulted")
                self.scheduling.release(branch)
                self._unwind(branch, error)
                return

    def _fault(self, branch: Branch, frame: Frame, error: WorkflowError | ExpressionError) -> None:
        """Unwind the stack by the error that a task raised."""
        if frame not in branch.stack:
            self._end_entry(frame, "faulted")
        self._unwind(branch, self._located(error, frame.step))

    def _unwind(self, branch: Branch, error: WorkflowError) -> None:
        """Take frames off until one catches the error, here or in the branch around."""
        stack = branch.stack
        while stack:
            frame = stack[-1]
            try:
                if frame.step.operation.catch(self, branch, frame, error.problem):
                    return
            except (WorkflowError, ExpressionError) as another:
                error = self._located(another, frame.step)
            self._unwind_frames(branch, len(stack) - 1, "faulted")
        self._close(branch)
        if branch.parent is None:
            self._fail(error)
            return
        parent = branch.parent
        self._unwind_frames(parent, len(parent.stack) - 1, "faulted")
        self.scheduling.release(parent)
        parent.state = BranchState.READY
        self._unwind(parent, error)
        if parent.state is BranchState.READY and not self.ended:
            self.scheduling.enqueue(parent)

    def _located(self, error: WorkflowError | ExpressionError, step: Step) -> WorkflowError:
        pointer = step.pointer or "/"
        if isinstance(error, ExpressionError):
            return WorkflowError.of(EXPRESSION, str(error), pointer)
        if "instance" not in error.problem:
            return WorkflowError({**error.problem, "instance": pointer})
        return error

    def _unwind_frames(self, branch: Branch, height: int, status: str) -> None:
        """Take frames off the stack that will not complete."""
        while len(branch.stack) > height:
            frame = branch.stack.pop()
            for child in frame.branches:
                self.cancel_branch(child)
            self._end_entry(frame, status)

    def _end_entry(self, frame: Frame, status: str) -> None:
        if frame.entry is not None:
            frame.entry[STATUS] = status
            frame.entry[ENDED] = self.now

    @override
    def cancel_branch(self, branch: Branch) -> None:
        if branch.state is not BranchState.ENDED:
            self._unwind_frames(branch, 0, "cancelled")
            self._close(branch)

    def _close(self, branch: Branch) -> None:
        branch.state = BranchState.ENDED
        self.scheduling.release(branch)
