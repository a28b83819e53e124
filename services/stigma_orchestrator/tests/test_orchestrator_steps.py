"""Steps of an agent that follow one another in no order: they run at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from stigma.agent.v1.agent_execution_pb2 import AgentOutput
from stigma_orchestrator.agents.step import StepResult, gather


@dataclass
class FakeStep:
    """Waits for its predecessor, if any, and records the task that ran it."""

    text: str
    after: FakeStep | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[object] | None = None

    async def run(self) -> StepResult:
        self.task = asyncio.current_task()
        if self.after is not None:
            await self.after.ended.wait()
        self.ended.set()
        return StepResult([], output=AgentOutput(text=self.text))


async def test_steps_run_at_once_and_keep_their_order() -> None:
    second = FakeStep("2")
    first = FakeStep("1", after=second)
    results = await gather([first, second])
    assert [result.output for result in results] == [AgentOutput(text="1"), AgentOutput(text="2")]


async def test_one_step_runs_in_the_task_of_the_loop() -> None:
    """One task more would change the order of commands: recorded histories would not replay."""
    step = FakeStep("1")
    await gather([step])
    assert step.task is asyncio.current_task()
