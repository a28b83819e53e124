"""The interpreter: advances branches, one task after the other, until they wait or end.

It is synchronous and deterministic. What takes time (effects, timers, yielding) is the
scheduler's, which it reaches through `Scheduling`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from operator import itemgetter
from typing import Any

from typing_extensions import override

from stigma.contracts.engine_summaries import TimerKind, TimerUse, timer_summary
from stigma.contracts.refusals import Refusal
from zigflow_worker.errors import WorkflowError
from zigflow_worker.execution.dataflow import RunFacts
from zigflow_worker.execution.pacing import STEPS_PER_TASK, Pace
from zigflow_worker.execution.scheduling import Scheduling
from zigflow_worker.execution.trace import ENDED, EXECUTION, STATUS, Trace
from zigflow_worker.execution.unwinding import Unwinding
from zigflow_worker.expressions import JSON, ExpressionError
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import END, Block, Branch, BranchState, Frame, Step


class Interpreter(Unwinding):
    """One run of a program."""

    def __init__(self, facts: RunFacts, scheduling: Scheduling, trace: Trace, pace: Pace) -> None:
        super().__init__(facts, scheduling)
        self.trace = trace
        self.pace = pace
        self.main = Branch()
        self.outcome: JSON = None
        self._current: Frame = Frame(facts.program.root, None, {}, 1, self.now)

    # --- The life of the run

    def begin(self, raw_input: JSON) -> None:
        """Put the first task on the stack."""
        program = self.facts.program
        frame = Frame(program.root, raw_input, {}, 1, self.now)
        try:
            frame.input = self.apply_input_rules(program.input, raw_input, frame)
            self.context = frame.input
            if program.root.timeout is not None:
                frame.deadline = self.now + self.seconds(program.root.timeout, frame, raw_input)
        except (WorkflowError, ExpressionError) as error:
            self._fail(self._located(error, program.root).with_refusal(Refusal.INPUT))
            return
        frame.begin_block(program.do, frame.input)
        self.main.stack.append(frame)

    @override
    def end_branch(self, branch: Branch, output: JSON) -> None:
        bottom = branch.stack.pop()
        self._close(branch)
        branch.completed = True
        branch.output = output
        if branch.parent is None:
            self._finish_run(bottom, output)
            return
        frame = branch.parent.stack[-1]
        frame.step.operation.branch_ended(self, frame, branch, output)
        self.wake(branch.parent)

    def _finish_run(self, frame: Frame, output: JSON) -> None:
        try:
            self.outcome = self.apply_output_rules(self.facts.program.output, output, frame)
        except (WorkflowError, ExpressionError) as error:
            self._fail(self._located(error, frame.step))
        self.ended = True

    def end_run(self, output: JSON) -> None:
        """End the whole run gracefully, from any branch."""
        main = self.main
        self._unwind_frames(main, 1, "completed")
        root = main.stack[0]
        root.data = output
        root.index = root.block.size if root.block else 0
        self.scheduling.release(main)
        self.wake(main)

    # --- Advancing

    def advance(self, branch: Branch) -> None:
        """Run a branch until it waits or ends, or the activation does."""
        branch.state = BranchState.READY
        self._check_deadlines(branch)
        while branch.state is BranchState.READY and self.pace.allows(self.budget):
            try:
                self._run(branch)
            except (WorkflowError, ExpressionError) as error:
                self._fault(branch, self._current, error)
        if branch.state is BranchState.READY:
            self.scheduling.enqueue(branch)

    def take_result(self, branch: Branch) -> None:
        """Let the top task of a branch take what its effect brought, and go no further."""
        frame = self._current = branch.stack[-1]
        try:
            frame.step.operation.proceed(self, branch, frame)
        except (WorkflowError, ExpressionError) as error:
            self._fault(branch, frame, error)
        if branch.state is BranchState.READY:
            self.scheduling.enqueue(branch)

    def wake(self, branch: Branch) -> None:
        """Make a waiting branch ready."""
        if branch.state is BranchState.WAITING:
            branch.state = BranchState.READY
            self.scheduling.enqueue(branch)

    @override
    def wait(
        self,
        branch: Branch,
        *,
        until: float | None = None,
        use: TimerUse | None = None,
        effect: Coroutine[Any, Any, JSON] | None = None,
    ) -> None:
        branch.state = BranchState.WAITING
        deadlines = [
            (frame.deadline, frame.step.pointer)
            for frame in branch.stack
            if frame.deadline is not None
        ]
        if deadlines:
            deadline, pointer = min(deadlines, key=itemgetter(0))
            if until is None or deadline <= until:
                until, use = deadline, TimerUse(TimerKind.TIMEOUT, pointer)
        self.scheduling.wait(branch, until, effect, "" if use is None else timer_summary(use))

    def _run(self, branch: Branch) -> None:
        stack = branch.stack
        budget, pace = self.budget, self.pace
        ready = BranchState.READY
        while branch.state is ready and (
            (pace.turns < pace.planned_turns and budget.used < pace.most_steps)
            or pace.allows(budget)
        ):
            pace.turns += 1
            frame = stack[-1]
            block = frame.block
            if block is not None and frame.index < block.size:
                budget.used += STEPS_PER_TASK
                step = block.steps[frame.index]
                if step.formula is not None:
                    self._do_formula(frame, step, step.formula)
                else:
                    self._begin_task(branch, frame, step)
            else:
                budget.used += 1
                self._current = frame
                frame.step.operation.proceed(self, branch, frame)

    def _begin_task(self, branch: Branch, parent: Frame, step: Step) -> None:
        now = self.now
        frame = self._current = Frame(step, parent.data, parent.variables, parent.attempt, now)
        frame.entry = self.trace.begin(step.pointer, step.name, now, parent.attempt)
        if not step.has_no_input_rules and not self._prepare(frame):
            self._end_entry(frame, "skipped")
            parent.index += 1
            return
        if step.evaluate is not None:
            frame.output = step.evaluate(self, frame)
            self._finish_task(parent, frame)
        else:
            branch.stack.append(frame)
            step.operation.enter(self, branch, frame)

    def _do_formula(self, parent: Frame, step: Step, formula: Formula) -> None:
        """Do a whole task without a frame, which would be half the time it takes."""
        now, data, attempt = self.now, parent.data, parent.attempt
        try:
            output = formula.evaluate(data, parent.variables, self.budget)
        except ExpressionError:
            frame = self._current = Frame(step, data, parent.variables, attempt, now)
            frame.entry = self.trace.begin(step.pointer, step.name, now, attempt)
            raise
        self.trace.add_completed(step.pointer, step.name, now, attempt)
        if step.then == END:
            self.end_run(output)
        else:
            parent.data = output
            parent.index = step.then

    def _prepare(self, frame: Frame) -> bool:
        """Apply what comes before a task; False skips it."""
        step = frame.step
        if step.condition is not None:
            wanted = self.value(step.condition, frame, frame.raw)
            if wanted is None or wanted is False:
                return False
        if step.input:
            frame.input = self.apply_input_rules(step.input, frame.raw, frame)
        if step.timeout is not None:
            frame.deadline = self.now + self.seconds(step.timeout, frame, frame.raw)
        return True

    @override
    def push_frame(self, branch: Branch, frame: Frame, block: Block | None, data: JSON) -> None:
        if block is not None:
            frame.begin_block(block, data)
        branch.stack.append(frame)

    @override
    def complete(self, branch: Branch, frame: Frame, output: JSON) -> None:
        branch.stack.pop()
        frame.output = output
        parent = branch.stack[-1]
        if parent.step.pointer == frame.step.pointer:
            parent.take_details(frame)
        self._finish_task(parent, frame)

    @override
    def pop_frame(self, branch: Branch, frame: Frame) -> None:
        branch.stack.pop()
        branch.stack[-1].data = frame.data

    def _finish_task(self, parent: Frame, frame: Frame) -> None:
        step = frame.step
        output = frame.output
        if not step.has_no_output_rules:
            output = self.apply_output_rules(step.output, output, frame)
            if step.export:
                self.context = self.apply_output_rules(step.export, output, frame, exported=output)
        entry = frame.entry
        if entry is not None:
            entry[STATUS] = "completed"
            entry[ENDED] = self.now
        target = step.then if frame.target is None else frame.target
        if target == END:
            self.end_run(output)
        else:
            parent.data = output
            parent.index = target

    @override
    def random(self, low: float, high: float) -> float:
        return self.scheduling.random(low, high)

    @override
    def unique_id(self) -> str:
        return self.scheduling.unique_id()

    @override
    def start_branch(self, branch: Branch) -> None:
        if branch.state is not BranchState.ENDED:
            self.scheduling.enqueue(branch)

    @override
    def reserve_effect(self, branch: Branch, size: int) -> bool:
        return self.scheduling.reserve_effect(branch, size)

    @override
    def record_execution(self, frame: Frame, execution_id: str) -> None:
        if frame.entry is not None:
            frame.entry[EXECUTION] = execution_id or None
