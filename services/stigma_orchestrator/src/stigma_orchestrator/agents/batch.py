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
from stigma_orchestrator.agents.tool_step import ToolStep


class _State(Enum):
    DECIDING = auto()
    WAITING = auto()
    """For a person."""
    READY = auto()
    RUNNING = auto()
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
                    or (not self.is_active and self._ends_early(may_hand_over=may_hand_over))
                )
            )
            for task in tasks:
                if task.done():
                    task.result()
            return all(task.done() for task in tasks)
        finally:
            for task in (*tasks, wake):
                task.cancel()
            # An agent that is called ends before the one that calls; others may take their time.
            agents = [task for index, task in making.items() if self._steps[index].is_agent]
            await asyncio.gather(*agents, return_exceptions=True)

    def _ends_early(self, *, may_hand_over: bool) -> bool:
        if self._gates.inputs.has_answers:
            return False  # accepted, so acted on
        if self._gates.is_stopping() or self._room.is_full:
            return True
        info = workflow.info()
        return may_hand_over and (info.is_continue_as_new_suggested() or versions.target_changed())

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
            self._enter(index, _State.READY)
            await workflow.wait_condition(lambda: self._may_start(index))
            size = room_of(gate.step.tool, gate.step.call)
            await self._room.enter(size)
            if self._room.is_full:
                self._enter(index, _State.ENDED)
                return
            self._enter(index, _State.RUNNING)
            result = gate.step.begin()
            if result is None:
                result = gate.told(await gate.step.run())
                gate.is_untold = False
            self._room.leave(size, sum(gate.step.result_bytes))
        if gate.is_untold:
            self.untold.append(result)
        self._results[step.call.call_id] = result
        self._enter(index, _State.ENDED)

    def _enter(self, index: int, state: _State) -> None:
        self._states[index] = state
        self._gates.inputs.publish_soon()

    def _may_start(self, index: int) -> bool:
        """Return whether a call may start: one of a sequential tool runs alone, and in order."""
        alone = self._steps[index].runs_alone
        for other, state in enumerate(self._states):
            if other == index or not (alone or self._steps[other].runs_alone):
                continue
            if state == _State.RUNNING:
                return False
            if other < index and state in (_State.DECIDING, _State.READY):
                return False
        return True


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
