"""The scheduler: gives branches their turns, time and effects, inside one Temporal workflow.

All branches of a run share one coroutine. It advances those that are ready, and sleeps until a
timer or an effect wakes one. What is not synchronous goes through `_pause`, `_sleep`, or a task
of its own (an effect).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from typing_extensions import override

from stigma.contracts import versions
from zigflow_worker.activities.interfaces import EngineActivities
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.execution.pacing import Pace
from zigflow_worker.execution.run_state import (
    MAX_STATE_BYTES,
    dump_run,
    exceeds_state,
    is_too_large,
    too_large,
)
from zigflow_worker.execution.scheduling import Scheduling
from zigflow_worker.execution.timers import Timers
from zigflow_worker.expressions import JSON, Budget
from zigflow_worker.program.encoded_sizes import EncodedSize, encoded_size
from zigflow_worker.program.model import Branch, BranchState
from zigflow_worker.start import RunOptions

MAX_EFFECTS = 1_000
"""Effects under way in one run; Temporal itself stops at 2,000 pending activities."""

MAX_COMMAND_BYTES = 2 * 1024 * 1024
"""Commands of one workflow task; the message limit is 4 MiB, and one may come on top."""

_EXPRESSION_STEPS = 500_000
"""Steps of one activation in all, also within a single expression."""

_WORKFLOW_TASK_ENDS_EVERY = 20
"""Pauses after which the workflow task ends too, so that signals and timeouts arrive."""

_PAUSE_TIMEOUT = timedelta(seconds=10)

_SHORTEST_HISTORY = 6
"""Events within which a run gets anywhere."""
_LONG_HISTORY = 5
"""Effects delay continuing up to so many times the length at which it was first suggested."""


class Scheduler(Scheduling):
    """Schedules one run."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Branch] = deque()
        self._effects: set[asyncio.Task[JSON]] = set()
        self._cancelled: set[asyncio.Task[JSON]] = set()
        self._waiting_for_slot: deque[Branch] = deque()
        self._waiting_for_bytes: deque[Branch] = deque()
        self._timers = Timers(self._wake_branch)
        self._wakeup: asyncio.Future[None] | None = None
        self._pauses = 0
        self._command_bytes = 0
        self._suggested_at: int | None = None
        self._version_timer: asyncio.TimerHandle | None = None
        self._too_large_at: int | None = None
        self.suspended = False
        self.pace = Pace(options.steps_per_activation, workflow.patched)

    async def drive(self, run: Interpreter) -> bool:
        """Advance a run until it ended (True) or must continue as new (False)."""
        while not run.ended:
            self._begin_activation(run)
            if self._may_change_version(run):
                return run.ended
            if self._must_continue():
                self._take_results(run)
                if not self._effects and not self._cancelled:
                    return run.ended
                await self._sleep()
            elif self._ready and not self.suspended:
                self._advance_ready(run)
                if not run.ended and self._ready:
                    self._check_state(run)
                    await self._pause(run)
            elif self._waiting_for_bytes:
                await self._end_workflow_task()
            else:
                await self._sleep()
        return True

    async def settle(self, run: Interpreter) -> None:
        """Cancel what is still under way, and wait until it has ended."""
        run.cancel_branch(run.main)
        while self._cancelled:
            await workflow.wait(list(self._cancelled))

    @property
    def idle(self) -> bool:
        """True while all branches wait for something."""
        return not self._ready

    def set_suspended(self, suspended: bool) -> None:
        """Stop at task boundaries, or continue."""
        self.suspended = suspended
        self._wake()

    # --- Scheduling, for the interpreter

    @override
    def enqueue(self, branch: Branch) -> None:
        if not branch.queued:
            branch.queued = True
            self._ready.append(branch)
            self._wake()

    @override
    def wait(
        self,
        branch: Branch,
        until: float | None,
        effect: Coroutine[Any, Any, JSON] | None,
        summary: str,
    ) -> None:
        if effect is not None:
            task = self._loop.create_task(effect)
            branch.effect = task
            self._effects.add(task)
            task.add_done_callback(lambda done: self._effect_done(branch, done))
        self._timers.set(branch, until, summary)

    @override
    def release(self, branch: Branch) -> None:
        self._timers.cancel(branch)
        effect, branch.effect = branch.effect, None
        if effect is None:
            return
        if effect.done():
            _consume_outcome(effect)
        else:
            self._cancelled.add(effect)
            effect.cancel()

    @override
    def reserve_effect(self, branch: Branch, size: int) -> bool:
        if len(self._effects) >= MAX_EFFECTS:
            branch.state = BranchState.WAITING
            self._waiting_for_slot.append(branch)
            return False
        if self._command_bytes and self._command_bytes + size > MAX_COMMAND_BYTES:
            branch.state = BranchState.WAITING
            self._waiting_for_bytes.append(branch)
            return False
        self._command_bytes += size
        return True

    @override
    def random(self, low: float, high: float) -> float:
        return workflow.random().uniform(low, high)

    @override
    def unique_id(self) -> str:
        return str(workflow.uuid4())

    @override
    def patched(self, change: str) -> bool:
        return workflow.patched(change)

    # --- Waking

    def _effect_done(self, branch: Branch, effect: asyncio.Task[JSON]) -> None:
        self._effects.discard(effect)
        self._cancelled.discard(effect)
        if branch.effect is effect:
            self._wake_branch(branch)
        else:
            _consume_outcome(effect)
        while self._waiting_for_slot:
            waiting = self._waiting_for_slot.popleft()
            if waiting.state is BranchState.WAITING:
                self._wake_branch(waiting)
                break
        self._wake()

    def _wake_branch(self, branch: Branch) -> None:
        if branch.state is BranchState.WAITING:
            branch.state = BranchState.READY
            self.enqueue(branch)

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    # --- Activations

    def _begin_activation(self, run: Interpreter) -> None:
        run.now = workflow.time()
        run.budget = Budget(_EXPRESSION_STEPS, new_parts=self.pace.counts_turns)
        self.pace.begin_activation()

    def _advance_ready(self, run: Interpreter) -> None:
        while self._ready and not run.ended and self.pace.allows(run.budget):
            branch = self._ready.popleft()
            branch.queued = False
            if branch.state is BranchState.READY:
                run.advance(branch)

    def _take_results(self, run: Interpreter) -> None:
        """Have branches take what their effects brought: it could not be carried over."""
        for branch in list(self._ready):
            if branch.effect is not None and branch.state is BranchState.READY:
                self._ready.remove(branch)
                branch.queued = False
                run.take_result(branch)

    async def _sleep(self) -> None:
        self._wakeup = self._loop.create_future()
        self._schedule_version_check()
        await self._wakeup
        self._wakeup = None
        self._command_bytes = 0

    async def _pause(self, run: Interpreter) -> None:
        """Let the activation end."""
        self._pauses += 1
        if self._pauses % _WORKFLOW_TASK_ENDS_EVERY == 0:
            await self._end_workflow_task()
        elif self.pace.counts_turns:
            plan = await workflow.execute_local_activity_method(
                EngineActivities.record_plan,
                self.pace.next_plan(run.budget.used - run.budget.spared),
                start_to_close_timeout=_PAUSE_TIMEOUT,
            )
            self.pace.follow(plan)
        else:
            await workflow.execute_local_activity_method(
                EngineActivities.end_activation, start_to_close_timeout=_PAUSE_TIMEOUT
            )

    async def _end_workflow_task(self) -> None:
        """Send the commands so far, and receive what has arrived.

        By an activity: timers of a Temporal server are only good to a second.
        """
        await workflow.execute_activity_method(
            EngineActivities.end_activation, start_to_close_timeout=_PAUSE_TIMEOUT
        )
        self._command_bytes = 0
        while self._waiting_for_bytes:
            self._wake_branch(self._waiting_for_bytes.popleft())

    def _schedule_version_check(self) -> None:
        """Wake at intervals: only a workflow task brings news of another version."""
        if self._version_timer is None and not self._effects and versions.is_versioned():
            self._version_timer = self._loop.call_later(
                versions.VERSION_CHECK_INTERVAL.total_seconds(), self._check_version
            )

    def _check_version(self) -> None:
        self._version_timer = None
        self._wake()

    def _may_change_version(self, run: Interpreter) -> bool:
        """Return whether there is another version to continue in, and the run can be carried there.

        One that is too large stays on its version. It may shrink, but is not measured more than
        once a workflow task.
        """
        if not versions.target_changed() or self._effects or self._cancelled:
            return False
        length = workflow.info().get_current_history_length()
        if length == self._too_large_at:
            return False
        self._take_results(run)
        if run.ended or not is_too_large(dump_run(run)):
            return True
        self._too_large_at = length
        return False

    def _must_continue(self) -> bool:
        info = workflow.info()
        length = info.get_current_history_length()
        suggested = info.is_continue_as_new_suggested()
        if self._options.history_length:
            suggested |= length >= max(self._options.history_length, _SHORTEST_HISTORY)
        if not suggested:
            return False
        if self._suggested_at is None:
            self._suggested_at = length
        # An effect may take a day: other branches should not stop for it at once.
        return not self._effects or length > _LONG_HISTORY * self._suggested_at

    def _check_state(self, run: Interpreter) -> None:
        """Fail a run whose data has grown too large to be carried over."""
        values = [frame.data for branch in [run.main, *self._ready] for frame in branch.stack]
        values.append(run.context)
        unique = {id(value): value for value in values}
        sizes = {place: encoded_size(one, MAX_STATE_BYTES) for place, one in unique.items()}
        each = (sizes[id(value)] for value in values)  # what frames share counts for each of them
        if exceeds_state(EncodedSize(*map(sum, zip(*each, strict=True)))):
            run.fail(too_large("the state of the run"), run.main)


def _consume_outcome(effect: asyncio.Task[JSON]) -> None:
    """Consume the outcome of an effect that is not awaited any more, or asyncio logs it."""
    if not effect.cancelled():
        effect.exception()
