"""Runs after a roll back to 0.1.0: of what it knows, and of what it does not know.

As docs/upgrades.md says: what is open stands still until the next upgrade, what begins is refused,
and no run is lost or goes another way.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from tests.reliability.calls import happened
from tests.reliability.documents import HEADER
from tests.stack.plugin import StartStack
from tests.stack.stack import Stack
from tests.stack.waiting import eventually
from tests.upgrades.past_release import Tree, releases, replay_in
from tools.histories import calls

ENGINE = "zigflow_worker"
WITHIN = timedelta(seconds=90)
TASK_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
TIMER_STARTED = EventType.EVENT_TYPE_TIMER_STARTED
# Longer than it takes to start all runs and to stop the engine, late or not.
NAP = "nap: {wait: {seconds: 10}}"
OPEN: dict[str, tuple[str, Any]] = {
    "emit": (
        "do: [{tell: {emit: {event: {with: {id: e, type: a.b}}}, output: {as: .id}}}, {%s}]",
        "e",
    ),
    "functions": (
        "use: {functions: {twice: {set: {n: '${ .n * 2 }'}}}}\n"
        "do: [{%s}, {say: {call: twice, with: {n: 3}}}]",
        {"n": 6},
    ),
    "extensions": (
        "use: {extensions: [{mock: {extend: call, before: ["
        "{say: {set: {n: 1}, then: exit}}]}}]}\n"
        "do: [{%s}, {ask: {call: http, with: {method: get, endpoint: 'http://nobody.invalid'}}}]",
        {"n": 1},
    ),
    "short-wait": (
        "do: [{first: {wait: {milliseconds: 20}}}, {%s}, {say: {set: {n: 1}}}]",
        {"n": 1},
    ),
}
"""Tasks, which nap, and the output; what the older engine does not know comes before or after."""
KNOWN = "do: [{%s}, {say: {set: {n: 1}}}]"


@dataclass
class Engine:
    """One engine, of this release or of 0.1.0."""

    stack: Stack
    past: Tree

    async def start(self, name: str, tasks: str) -> WorkflowHandle[Any, Any]:
        """Start a document."""
        return await self.stack.client.start_workflow(
            name,
            {"document": HEADER + tasks},
            id=f"new-{name}",
            task_queue=self.stack.queues.engine,
        )

    async def replace(self, variables: Mapping[str, str]) -> None:
        """Have code run that is found with these variables; none: today's."""
        await self.stack.stop(ENGINE)
        environment = self.stack.process(ENGINE).environment
        for name in self.past.environment:
            environment.pop(name, None)
        environment |= variables
        await self.stack.start(ENGINE)


@pytest.fixture(scope="module")
def past(code_of: Callable[[Path], Tree]) -> Tree:
    """The code of 0.1.0."""
    return code_of(releases()[0])


@pytest.fixture
async def engine(new_stack: StartStack, past: Tree) -> AsyncIterator[Engine]:
    """An engine of this release."""
    stack = await new_stack(services=(ENGINE,))
    yield Engine(stack, past)
    await stack.stop()


async def until_napping(run: WorkflowHandle[Any, Any]) -> None:
    async def napping() -> bool:
        return bool(await happened(run, TIMER_STARTED))

    await eventually(napping, within=WITHIN, what=f"the nap of {run.id}")


async def test_open_runs_stand_still_and_new_ones_are_refused(engine: Engine) -> None:
    runs = {name: await engine.start(name, tasks % NAP) for name, (tasks, _) in OPEN.items()}
    known = await engine.start("known", KNOWN % NAP)
    for run in (*runs.values(), known):
        await until_napping(run)
    await engine.replace(engine.past.environment)

    async def stands_still() -> bool:
        return all([await happened(run, TASK_FAILED) for run in runs.values()])

    await eventually(stands_still, within=WITHIN, what="workflow tasks that 0.1.0 fails")
    for run in runs.values():
        assert (await run.describe()).status == WorkflowExecutionStatus.RUNNING
    assert await known.result() == {"n": 1}
    begun = await engine.start("refused", OPEN["functions"][0] % NAP)
    with pytest.raises(WorkflowFailureError) as refused:
        await begun.result()
    assert isinstance(refused.value.cause, ApplicationError)
    assert "'use.functions' is not supported in this release" in refused.value.cause.message

    await engine.replace({})
    for name, run in runs.items():
        assert await run.result() == OPEN[name][1], name


def test_0_1_0_replays_agents_without_tools(past: Tree, tmp_path: Path) -> None:
    """With all that can happen to them; the newest release's histories have it."""
    names = {scenario.name.replace("_", "-") for scenario in calls.SCENARIOS}
    known = [
        path
        for path in (releases()[-1] / "histories").glob("*.json")
        if path.name.partition(".")[0] in names
    ]
    assert len(known) > len(names)
    for path in known:
        shutil.copy(path, tmp_path)
    replay_in(past, tmp_path, len(known))
