"""Temporal and PostgreSQL lost for a while: killed with what they have written, frozen, cut off."""

from __future__ import annotations

import asyncio
import os
import uuid
from datetime import timedelta

import grpc
import grpc.aio
import pytest
from temporalio.api.enums.v1 import EventType

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest, GetAgentRequest
from tests.containers.container_faults import ContainerFault, cut_off, frozen, killed
from tests.containers.foundation import Foundation
from tests.containers.stack import ContainerStack
from tests.reliability.fault_site import Deployment
from tests.stack.stack import SERVICES

Deployed = Deployment[ContainerStack]
DOWN = "Temporal down 60 s; AI worker, orchestrator down"
# The row says 60 s; scaled down where all tests are run.
OUTAGE = float(os.environ.get("STIGMA_TEST_OUTAGE_SECONDS", "10"))
MODEL_CALLED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
WITHIN = timedelta(seconds=120)
# Refused, or, by what is there and does not answer, kept waiting for as long as a call may take.
TRY_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
LOST = pytest.mark.parametrize(
    "fault", [killed, frozen, cut_off], ids=["killed", "frozen", "cut off"]
)


@LOST
@pytest.mark.contract(DOWN)
@pytest.mark.timeout(240 + 2 * OUTAGE)
async def test_temporal(
    deployment: Deployed, foundation: Foundation, fault: ContainerFault
) -> None:
    callers, stack = deployment.callers, deployment.stack
    at_work = [await callers.worker(delay=2), await callers.engine(delay=2)]
    for call in at_work:
        await callers.agent_of(call, MODEL_CALLED)
    barely_begun = [await callers.worker(), await callers.engine()]
    async with fault(foundation.temporal.container):
        await asyncio.sleep(OUTAGE)  # the outage itself
    await foundation.temporal.answers()
    for call in (*at_work, *barely_begun):
        await call.check(WITHIN)
    for service in SERVICES:
        await stack.process(service).wait_ready()
    await (await callers.engine()).check(WITHIN)


@LOST
async def test_registry(
    deployment: Deployed, foundation: Foundation, fault: ContainerFault
) -> None:
    """What needs no registered agent goes on; what does is told in time, and finds it later."""
    stack = deployment.stack
    agent = Agent(name=f"kept-{uuid.uuid4().hex}", spec=AgentSpec(model="scripted:containers"))
    applied = await stack.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
    async with fault(foundation.postgres.container):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stack.agents.GetAgent(GetAgentRequest(id=agent.name), timeout=60)
        assert caught.value.code() in TRY_AGAIN
        await (await deployment.callers.worker()).check()
    await foundation.postgres.answers()
    await stack.process("stigma_api").wait_ready()
    found = await stack.agents.GetAgent(GetAgentRequest(id=agent.name))
    assert found == applied
    deployment.callers.started += 1
    request = StartAgentRequest(agent_id=agent.name, message="hello", request_id=agent.name)
    execution = await stack.executions.StartAgent(request)
    assert (await deployment.outcome(execution.id)).output.text == "hello"
