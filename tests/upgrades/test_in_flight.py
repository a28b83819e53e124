"""From a past release to this one and back, while models work and callers wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest, GetAgentRequest
from tests.integration.model_gate import ModelGate
from tests.reliability.calls import Call
from tests.reliability.fault_site import CALLER
from tests.stack.plugin import StartStack
from tests.upgrades import replaying
from tests.upgrades.fleet import Fleet, new_fleet
from tests.upgrades.past_release import Tree, releases, replay_in

# In both directions: whatever the order, what was replaced works with what was not.
ORDER = ("ai_worker", "stigma_orchestrator", "stigma_api", "zigflow_worker", CALLER)
NEWEST = releases()[-2:]
# All tests upgrade from the two newest releases, `make soak` from the older ones as well.
PARAMETERS = [
    pytest.param(one, id=one.name, marks=() if one in NEWEST else pytest.mark.soak)
    for one in releases()
]


@pytest.fixture(scope="module", params=PARAMETERS)
def past(request: pytest.FixtureRequest, code_of: Callable[[Path], Tree]) -> Tree:
    """The code of a past release."""
    return code_of(request.param)


@dataclass
class Rollout:
    """Calls that were under way while services were replaced."""

    fleet: Fleet
    past: Tree
    waiting: list[Call] = field(default_factory=list)
    done: list[Call] = field(default_factory=list)

    async def upgrade(self, service: str) -> None:
        """Replace a service of the past by today's; calls begin before and after."""
        self.waiting += await self.fleet.ask()
        if service == "stigma_api":
            await self._restart_api({})
        else:
            assert await self.fleet.add(service, _today(self.past)) == 1
            await self.fleet.retire(service, 0)
        self.done += await self.fleet.handshakes()

    async def roll_back(self, service: str) -> None:
        """The other way round."""
        self.waiting += await self.fleet.ask()
        if service == "stigma_api":
            await self._restart_api(dict(self.past.environment))
        else:
            await self.fleet.stack.start(service)  # both replicas
            await self.fleet.retire(service, 1)
        self.done += await self.fleet.handshakes()

    async def finish(self, count: int) -> None:
        """Let the models of so many calls answer, the oldest first."""
        finished, self.waiting = self.waiting[:count], self.waiting[count:]
        for call in finished:
            await self.fleet.answer(call)
        for call in finished:
            await call.check()
        self.done += finished

    async def _restart_api(self, variables: dict[str, str]) -> None:
        """On the same port: its callers know no other."""
        await self.fleet.retire("stigma_api", 0)
        api = self.fleet.stack.process("stigma_api")
        for name in self.past.environment:
            api.environment.pop(name, None)
        api.environment |= variables
        await self.fleet.stack.start("stigma_api")


def _today(past: Tree) -> dict[str, str]:
    return dict.fromkeys(past.environment, "")


@pytest.fixture(scope="module")
async def rollout(
    past: Tree, new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rollout]:
    """The past release, running."""
    async with ModelGate() as gate:
        environment = dict.fromkeys(ORDER, past.environment)
        directory = tmp_path_factory.mktemp("fleet")
        fleet = await new_fleet(new_stack, gate, directory, environment)
        yield Rollout(fleet, past)
        await fleet.stack.stop()


@pytest.fixture(scope="module")
async def upgraded(rollout: Rollout) -> Rollout:
    """Every service replaced by today's, one after the other."""
    await apply(rollout.fleet, "of-the-past")
    for service in ORDER:
        await rollout.upgrade(service)
    await rollout.finish(len(rollout.waiting) // 2)
    return rollout


@pytest.fixture(scope="module")
async def rolled_back(upgraded: Rollout) -> Rollout:
    """Every service that was upgraded replaced by the past release's."""
    await apply(upgraded.fleet, "of-today")
    for service in ORDER:
        await upgraded.roll_back(service)
    await upgraded.finish(len(upgraded.waiting))
    return upgraded


async def test_there(upgraded: Rollout) -> None:
    assert await applied(upgraded.fleet, "of-the-past")
    assert upgraded.done


@pytest.mark.timeout(600)
async def test_and_back(rolled_back: Rollout) -> None:
    fleet, calls = rolled_back.fleet, rolled_back.done
    assert await applied(fleet, "of-the-past")
    assert await applied(fleet, "of-today")
    assert len(calls) == fleet.callers.started == 8 * len(ORDER)
    assert len({(await call.completion()).id for call in calls}) == len(calls)
    await fleet.check_executions()
    await fleet.no_workflow_task_failed(calls)
    for call in calls:
        # Again only where its AI worker was replaced: twice at most.
        assert len(fleet.gate.calls(call.message)) <= 3


async def test_both_releases_replay_it_all(rolled_back: Rollout, tmp_path: Path) -> None:
    histories = await rolled_back.fleet.write_histories(rolled_back.done, tmp_path)
    assert len(set(histories)) == 2 * len(rolled_back.done)
    await asyncio.gather(
        replaying.replay(histories),
        asyncio.to_thread(replay_in, rolled_back.past, tmp_path, len(histories)),
    )


async def apply(fleet: Fleet, name: str) -> None:
    agent = Agent(name=name, spec=AgentSpec(model="scripted:any"))
    await fleet.stack.agents.ApplyAgent(ApplyAgentRequest(agent=agent), wait_for_ready=True)


async def applied(fleet: Fleet, name: str) -> bool:
    request = GetAgentRequest(id=name)
    return (await fleet.stack.agents.GetAgent(request, wait_for_ready=True)).name == name
