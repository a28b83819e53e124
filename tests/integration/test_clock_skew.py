"""Services whose machine's clock is not Temporal's: deadlines are Temporal's all the same."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from stigma.agent.v1.agent_pb2 import Agent, AgentLimits, AgentSpec, Script, ScriptStep
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
)
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import DiagnosisServiceStub
from tests.integration.callers import ForeignCaller, Job, PythonCaller
from tests.integration.installation import KEY, Installation, environment
from tests.integration.model_gate import ModelGate
from tests.stack.channels import open_channel
from tests.stack.command_line import stigma
from tests.stack.faketime import other_clock
from tests.stack.plugin import StartStack
from tests.stack.waiting import eventually

# Far more than any of the timeouts below, and less than their sum with the caller's.
SKEWS = {"ahead": 90.0, "behind": -90.0}
# It is found out to no better than the time that a start takes, of which a machine has no limit.
INEXACT = 20.0
AGENTS = {
    "brief": AgentSpec(model="gate:held", limits=AgentLimits(timeout=Duration(seconds=4))),
    "patient": AgentSpec(
        model="scripted:x",
        limits=AgentLimits(timeout=Duration(seconds=40)),
        script=Script(steps=[ScriptStep(delay=Duration(seconds=2), text="done")]),
    ),
}


@pytest.fixture(scope="module", params=SKEWS)
async def skewed(
    request: pytest.FixtureRequest, new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Installation, float]]:
    """All four services on a machine whose clock is ahead or behind; callers are on another."""
    skew, directory = SKEWS[request.param], tmp_path_factory.mktemp("installation")
    clock = other_clock(skew)
    async with ModelGate() as gate:
        stack = await new_stack(environment={"*": clock, **environment(gate, directory)})
        async with Installation(stack, gate, directory) as installation:
            for name, spec in AGENTS.items():
                agent = Agent(name=name, spec=spec)
                await installation.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
            yield installation, skew


async def test_a_limit_is_kept(skewed: tuple[Installation, float]) -> None:
    installation, _ = skewed
    started = await installation.start(agent_id="brief", message="m")
    status = (await installation.ended(started.id)).status
    assert status.failure.message.startswith("the deadline passed")
    lasted = status.end_time.ToNanoseconds() - status.start_time.ToNanoseconds()
    assert 3.5e9 < lasted < 20e9


async def test_what_is_within_its_limit_completes(skewed: tuple[Installation, float]) -> None:
    installation, _ = skewed
    called = await installation.call(PythonCaller, Job("patient", "m", timeout=60))
    assert await called.result() == "done"


async def test_the_api_learns_what_its_clock_is_ahead(skewed: tuple[Installation, float]) -> None:
    installation, skew = skewed

    async def told() -> ListStuckExecutionsResponse | None:
        async with open_channel(installation.stack.api_address, api_key=KEY) as channel:
            stub = DiagnosisServiceStub(channel)
            reply: ListStuckExecutionsResponse = await stub.ListStuckExecutions(
                ListStuckExecutionsRequest()
            )
        return reply if reply.clock_skew.seconds else None

    await installation.ask("echo", "m")
    reply = await eventually(told, within=timedelta(seconds=60), what="the clocks are compared")
    assert abs(reply.clock_skew.ToTimedelta().total_seconds() - skew) < INEXACT
    _, page = await installation.stack.process("stigma_api").admin("/metrics")
    [value] = [line for line in page.splitlines() if line.startswith("stigma_clock_skew_seconds ")]
    assert abs(float(value.split()[1]) - skew) < INEXACT
    shown = await stigma(
        "doctor",
        STIGMA_API_ADDRESS=installation.stack.api_address,
        STIGMA_API_KEY=KEY,
        TEMPORAL_ADDRESS=installation.stack.temporal_address,
        STIGMA_TASK_QUEUE_PREFIX=installation.stack.prefix,
    )
    side = "ahead of" if skew > 0 else "behind"
    assert re.search(rf"WRONG clock: the API's is 1 min \d+ s {side} Temporal's", shown.stdout)
    # A caller that does not tell what it has left, as those of 0.1.0.
    foreign = await installation.call(ForeignCaller, Job("echo", "hello", timeout=60))
    assert await foreign.result()
