"""The calls of one answer: each is made once it may be, and none waits for another's approval."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum, auto

from temporalio import workflow

from stigma.agent.v1.agent_execution_pb2 import ToolResult, Usage
from stigma.contracts import versions
from stigma_orchestrator.agents.call_gate import CallGate, Gates
from stigma_orchestrator.agents.history_room import HistoryRoom, room_of
from stigma_orchestrator.agents.mcp_step import McpStep
from stigma_orchestrator.agents.tool_step import ToolStep


class _State(Enum):
    DECIDING = auto()
    WAITING = auto()
    """For a person."""
    READY = auto()
    RUNNING = auto()
    SLEEPING = auto()
    """Until the server that works on it is asked again."""
    ENDED = auto()


class Batch:
    """The calls of one answer."""

    def __init__(
        self,
        steps: Sequence[ToolStep],
        gates: Gates,
        results: dict[str, ToolResult],
        usage: Usage,
    ) -> None:
        """Prepare the calls.

        Args:
            steps: the calls, in order.
            gates: hold back calls that people have to approve or to answer.
            results: by call id; of a batch that goes on, some are there already.
            usage: of the execution so far.
        """
        self._steps = steps
        self._gates = gates
        self._results = results
        self._usage = usage
        self._room = HistoryRoom()
        self._is_handing_over = False
        self._states = [
            _State.ENDED if step.call.call_id in results else _State.DECIDING for step in steps
        ]
        self.untold: list[ToolResult] = []
        """Results that no event of history holds."""

    @property
    def problem(self) -> str:
        """Reason to end the run, one line: results have filled the history; or ""."""
        if not self._room.is_full:
            return ""
        size = workflow.info().get_current_history_size()
        return (
            f"the results of {len(self._results)} of {len(self._steps)} calls of one answer fill "
            f"the history ({size} bytes); the other calls were not made"
        )

    @property
    def is_active(self) -> bool:
        """Whether something other than a person is waited for."""
        waits = (_State.WAITING, _State.ENDED)
        return any(state not in waits for state in self._states)

    @property
    def _may_rest(self) -> bool:
        """Whether nothing of ours is under way, so that another run can go on with the calls."""
        rests = (_State.WAITING, _State.SLEEPING, _State.ENDED)
        return all(state in rests for state in self._states)

    async def run(self, *, may_hand_over: bool) -> bool:
        """Make the calls; return False where calls still wait and the run should end before that.

        Args:
            may_hand_over: the run may continue as new while calls wait for people.

        Raises:
            AgentFailedError: nobody approved a call in time, and its rule says to fail then.
        """
        making = {
            index: asyncio.create_task(self._make(index))
            for index, state in enumerate(self._states)
            if state != _State.ENDED
        }
        tasks = list(making.values())
        wake = asyncio.create_task(self._wake_for_versions())
        try:
            await workflow.wait_condition(
                lambda: (
                    all(task.done() for task in tasks)
                    or any(map(_has_failed, tasks))
                    or self._ends_early(may_hand_over=may_hand_over)
                )
            )
            for task in tasks:
                if task.done():
                    task.result()
            return all(task.done() for task in tasks)
        finally:
            # An agent that is called ends before the one that calls, and tasks of servers are
            # cancelled; others may take their time.
            slow = [task for index, task in making.items() if self._is_slow(index)]
            for task in (*tasks, wake):
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    def _is_slow(self, index: int) -> bool:
        step = self._steps[index]
        return step.is_agent or (step.has_task and not self._is_handing_over)

    def _ends_early(self, *, may_hand_over: bool) -> bool:
        if self._gates.inputs.has_answers or not self._may_rest:
            return False  # an answer that is accepted is acted on
        if not self.is_active and (self._gates.is_stopping() or self._room.is_full):
            return True
        info = workflow.info()
        is_due = info.is_continue_as_new_suggested() or versions.target_changed()
        # A run that is cancelled has no other one after it: it cancels what servers work on.
        is_cancelled = workflow.cancellation_reason() is not None
        self._is_handing_over = may_hand_over and is_due and not is_cancelled
        return self._is_handing_over

    async def _wake_for_versions(self) -> None:
        """Have a workflow task now and then: it carries the version that new runs take."""
        while versions.is_versioned():
            await workflow.sleep(versions.VERSION_CHECK_INTERVAL)

    async def _make(self, index: int) -> None:
        step = self._steps[index]
        gate = CallGate(step, self._gates, self._usage)
        if await gate.needs_person():
            self._enter(index, _State.WAITING)
        result = await gate.pass_through()
        if result is None:
            result = await self._run_or_cancel(index, gate)
        if result is not None:
            if gate.is_untold:
                self.untold.append(result)
            self._results[step.call.call_id] = result
        self._enter(index, _State.ENDED)

    async def _run_or_cancel(self, index: int, gate: CallGate) -> ToolResult | None:
        """Run a call; if it is stopped, so is the task that a server has made of it."""
        try:
            return await self._run(index, gate)
        except asyncio.CancelledError:
            step = gate.step
            if isinstance(step, McpStep) and step.has_task and not self._is_handing_over:
                await step.give_up("The execution was stopped.")
            raise

    async def _run(self, index: int, gate: CallGate) -> ToolResult | None:
        """Run a call to its result; return None where history has no room for it."""
        result: ToolResult | None = None
        while result is None:
            step = gate.step
            if isinstance(step, McpStep) and step.is_open:
                result = await self._wait_for_server(index, gate, step)
                if result is not None:
                    return result
            if not step.has_task:  # which runs all the time
                self._enter(index, _State.READY)
                await workflow.wait_condition(lambda: self._may_start(index))
            sent_bytes = step.opened.ByteSize() if isinstance(step, McpStep) else 0
            size = room_of(step.tool, step.call, sent_bytes)
            await self._room.enter(size, sent_bytes)
            if self._room.is_full:
                return None
            self._enter(index, _State.RUNNING)
            result = step.begin()
            gate.is_untold = result is not None
            if result is None:
                result = gate.told(await step.run())
            self._room.leave(size, sent_bytes, sum(step.result_bytes))
        return result

    async def _wait_for_server(
        self, index: int, gate: CallGate, step: McpStep
    ) -> ToolResult | None:
        """Wait for people, or for a while, as a server wants it; return None to go on then."""
        if step.opened.asked:
            self._enter(index, _State.WAITING)
            return await gate.ask_people(step)
        self._enter(index, _State.SLEEPING)
        await step.sleep()
        return None

    def _enter(self, index: int, state: _State) -> None:
        self._states[index] = state
        self._gates.inputs.publish_soon()

    def _may_start(self, index: int) -> bool:
        """Return whether a call may start: one of a sequential tool runs alone, and in order."""
        alone = self._steps[index].runs_alone
        for other, state in enumerate(self._states):
            if other == index or not (alone or self._steps[other].runs_alone):
                continue
            if state in (_State.RUNNING, _State.SLEEPING) or self._steps[other].has_task:
                return False
            if other < index and state in (_State.DECIDING, _State.READY):
                return False
        return True


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
