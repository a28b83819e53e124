"""A service frozen, or cut off from the network: not a crash, since nobody is told.

Frozen it keeps its connections, and Temporal goes on giving it work. That each call led to one
execution is checked after every test, by its fixture.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from tests.containers.container_faults import ContainerFault, cut_off, frozen
from tests.containers.stack import ContainerStack
from tests.reliability.fault_site import CALLER, Deployment
from tests.stack.waiting import eventually

Deployed = Deployment[ContainerStack]
API_DOWN = "API down"
DOWN = "Temporal down 60 s; AI worker, orchestrator down"
MODEL_CALLED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
LOST = pytest.mark.parametrize("fault", [frozen, cut_off], ids=["frozen", "cut off"])
# A call may meanwhile have been given to the one that is lost, and is given to it again later.
WITHIN = timedelta(seconds=120)
# Of a call of the model into which a fault falls, also where Docker is late.
MODEL_SECONDS = 6.0


@LOST
@pytest.mark.contract(DOWN)
async def test_ai_worker(deployment: Deployed, fault: ContainerFault) -> None:
    """In the middle of a model call, until Temporal has given that up."""
    callers, stack = deployment.callers, deployment.stack
    call = await callers.worker(delay=MODEL_SECONDS)
    execution_id = await callers.execution_id(call)
    await stack.wait_for_event("ai_worker", "model_call_started", execution_id=execution_id)
    async with fault(stack.container("ai_worker")):
        await given_up(stack.client.get_workflow_handle(execution_id))
    execution = await call.check(WITHIN)
    assert execution.status.usage.model_calls == 1


@LOST
@pytest.mark.contract(DOWN)
async def test_orchestrator(deployment: Deployed, fault: ContainerFault) -> None:
    """While the model answers: nobody is there to hear it."""
    callers, stack = deployment.callers, deployment.stack
    call = await callers.worker(delay=MODEL_SECONDS)
    execution_id = await callers.execution_id(call)
    await stack.wait_for_event("ai_worker", "model_call_started", execution_id=execution_id)
    async with fault(stack.container("stigma_orchestrator")):
        await stack.wait_for_event("ai_worker", "model_call_completed", execution_id=execution_id)
        assert await call.pending() is not None
    execution = await call.check(WITHIN)
    assert execution.id == execution_id


@LOST
@pytest.mark.contract(API_DOWN)
async def test_api(deployment: Deployed, fault: ContainerFault) -> None:
    """Who asks meanwhile asks again; who has asked before hears as always."""
    callers, stack = deployment.callers, deployment.stack
    asked_before = await callers.worker(delay=2)
    await stack.wait_for_event(CALLER, "pending", workflow_id=asked_before.handle.id)
    async with fault(stack.container("stigma_api")):
        calls = [await callers.worker(), await callers.engine()]
        for call in calls:
            await call.until_back_off()
        await asked_before.check()
    for call in calls:
        await call.check(WITHIN)


@LOST
@pytest.mark.parametrize("caller", [CALLER, "zigflow_worker"], ids=["worker", "engine"])
async def test_callers(deployment: Deployed, fault: ContainerFault, caller: str) -> None:
    """While its agent works: the answer waits for it in Temporal."""
    callers, stack = deployment.callers, deployment.stack
    call = await (callers.worker if caller == CALLER else callers.engine)(delay=2)
    execution_id = await callers.execution_id(call)
    await stack.wait_for_event(caller, "pending", workflow_id=call.handle.id)
    async with fault(stack.container(caller)):
        await stack.wait_for_event("stigma_orchestrator", "delivered", execution_id=execution_id)
    await call.check(WITHIN)
    assert len(stack.events("token_taken", workflow_id=call.handle.id)) == 1


async def given_up(agent: WorkflowHandle[Any, Any]) -> None:
    """Return once Temporal has counted the first attempt of the agent's model call as lost."""

    async def second_attempt() -> bool:
        described = await agent.describe()
        pending = described.raw_description.pending_activities
        return any(one.attempt > 1 for one in pending)

    await eventually(second_attempt, within=WITHIN, what="a second attempt of the model call")
