"""Something is down, or lost for good: callers get their answer later, or learn why not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.common import WorkflowIDReusePolicy

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_COMPLETED
from stigma.contracts import ids
from stigma.contracts.workflows import AgentWorkflow
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput
from stigma_cli.devserver import DevServer
from tests.reliability.calls import events, happened
from tests.reliability.fault_site import CALLER, INJECTED, FaultSite, open_site
from tests.stack.plugin import StartStack
from tests.stack.waiting import eventually

API_DOWN = "API down"
LOST_AGENT = "agent workflow terminated / run timeout / stuck on a bad deploy"
DOWN = "Temporal down 60 s; AI worker, orchestrator down"

# The row says 60 s; make test scales it down.
OUTAGE = float(os.environ.get("STIGMA_TEST_OUTAGE_SECONDS", "10"))
HEARTBEAT = 4.0
MODEL_CALLED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
# A document's one task, and what comes of it.
ANSWERS, ANSWER = "{set: {answer: 42}}", {"answer": 42}


@pytest.mark.contract(API_DOWN, "agent", "workflow")
async def test_api_down_when_asked(site: FaultSite) -> None:
    await site.stack.kill("stigma_api")
    calls = [await site.callers.worker(), await site.callers.engine()]
    run = await site.callers.run(ANSWERS)
    for call in calls:
        await call.until_back_off()
    await run.until_back_off()
    await site.stack.start("stigma_api")
    for call in calls:
        await call.check()
    await run.check(ANSWER)


@pytest.mark.contract(API_DOWN, "agent", "workflow")
async def test_api_down_while_an_agent_works_and_delivers(site: FaultSite) -> None:
    run = await site.callers.run("{wait: PT2S}")
    await run.began()
    call = await site.callers.worker(delay=1)
    await site.stack.wait_for_event(CALLER, "pending", workflow_id=call.handle.id)
    await site.stack.kill("stigma_api")
    await call.check()
    await run.check(None)
    await site.stack.start("stigma_api")


@pytest.mark.contract(DOWN, "agent", "workflow")
async def test_ai_worker_down(site: FaultSite) -> None:
    await site.stack.kill("ai_worker")
    call = await site.callers.worker()
    run = await site.callers.ask()
    for asked in (call, run.call):
        await site.callers.agent_of(asked, MODEL_CALLED)
    await site.stack.start("ai_worker")
    execution = await call.check()
    assert execution.status.usage.model_calls == 1
    await run.check_answer()


@pytest.mark.contract(DOWN, "agent", "workflow")
async def test_orchestrator_down(site: FaultSite) -> None:
    await site.stack.kill("stigma_orchestrator")
    call = await site.callers.worker(heartbeat_timeout=HEARTBEAT)
    run = await site.callers.run(ANSWERS, heartbeat_timeout=HEARTBEAT)
    agent = await site.callers.agent_of(call, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
    # Nobody watches the callers meanwhile: another attempt of their activity asks again.
    signalled = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED

    async def bound_twice() -> bool:
        bindings = [await happened(one, signalled) for one in (agent, run.execution)]
        return min(bindings) >= 2

    await eventually(bound_twice, what="a second binding")
    await site.stack.start("stigma_orchestrator")
    execution = await call.check()
    assert (await site.outcome(execution.id)).phase == AGENT_EXECUTION_PHASE_COMPLETED
    ran = await run.check(ANSWER)
    assert ran.status.callback.bindings >= 2


@pytest.mark.contract(DOWN, "workflow")
async def test_engine_down(site: FaultSite) -> None:
    await site.stack.kill("zigflow_worker")
    run = await site.callers.run(ANSWERS, heartbeat_timeout=HEARTBEAT)
    handed_over = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED

    async def waits_for_the_engine() -> bool:
        return await happened(run.execution, handed_over) == 1

    await eventually(waits_for_the_engine, what="a run that nobody serves")
    await site.stack.start("zigflow_worker")
    await run.check(ANSWER)


@pytest.mark.contract(LOST_AGENT)
async def test_agent_workflow_terminated(site: FaultSite) -> None:
    call = await site.callers.worker(delay=60, heartbeat_timeout=HEARTBEAT)
    agent = await site.callers.agent_of(call, MODEL_CALLED)
    await agent.terminate(reason="by an operator")
    result = await call.result()
    assert (result["error"], result["reason"]) == ("AGENT_EXECUTION_FAILED", "TERMINATED")
    assert result["execution_id"] == agent.id


@pytest.mark.contract(LOST_AGENT)
async def test_agent_workflow_reaches_a_run_timeout(site: FaultSite) -> None:
    """Stigma sets none: somebody started the execution's workflow again, with one."""
    original = await site.callers.worker(
        "hello", request_id="original", delay=20, heartbeat_timeout=4
    )
    agent = await site.callers.agent_of(original, MODEL_CALLED)
    await agent.terminate()
    await original.result()
    described = await agent.describe()
    [started] = await events(agent, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    payload = started.workflow_execution_started_event_attributes.input.payloads[0]
    request = site.stack.client.data_converter.payload_converter.from_payload(
        payload, AgentWorkflowInput
    )
    request.spec.request_id = "again"
    request.execution_id = ids.execution_id(request.spec.principal, site.stack.namespace, "again")
    await site.stack.client.start_workflow(
        AgentWorkflow.run,
        request,
        id=request.execution_id,
        task_queue=site.stack.queues.orchestrator,
        memo=await described.memo(),
        search_attributes=described.typed_search_attributes,
        run_timeout=timedelta(seconds=6),
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
    )
    call = await site.callers.worker(
        "hello",
        request_id="again",
        workflow_id=original.handle.id,
        delay=20,
        heartbeat_timeout=HEARTBEAT,
    )
    result = await call.result()
    assert (result["error"], result["reason"]) == ("AGENT_EXECUTION_TIMEOUT", "TERMINATED")
    assert result["execution_id"] == request.execution_id


@pytest.mark.contract(LOST_AGENT)
async def test_stuck_on_a_bad_deploy(site: FaultSite) -> None:
    orchestrator = site.stack.process("stigma_orchestrator")
    good = dict(orchestrator.environment)
    orchestrator.environment |= {"PYTHONPATH": INJECTED, "RELIABILITY_BUG": "1"}
    await site.stack.restart("stigma_orchestrator")
    call = await site.callers.worker(heartbeat_timeout=HEARTBEAT)
    await site.callers.agent_of(call, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    orchestrator.environment = good
    await site.stack.restart("stigma_orchestrator")
    execution = await call.check()
    assert (await site.outcome(execution.id)).phase == AGENT_EXECUTION_PHASE_COMPLETED


@pytest.fixture(scope="module")
async def mortal_server(
    temporal_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DevServer]:
    """A server of this module's own, which keeps its data when it is killed."""
    directory = tmp_path_factory.mktemp("temporal")
    async with DevServer(temporal_binary, db_filename=directory / "temporal.db") as server:
        yield server


@pytest.fixture
async def mortal_site(new_stack: StartStack, mortal_server: DevServer) -> AsyncIterator[FaultSite]:
    async with open_site(new_stack, mortal_server.address) as site:
        yield site
        await site.check_executions()


@pytest.mark.contract(DOWN, "agent", "workflow")
@pytest.mark.timeout(180 + 2 * OUTAGE)
async def test_temporal_down(mortal_site: FaultSite, mortal_server: DevServer) -> None:
    site = mortal_site
    waits, asks = await site.callers.run("{wait: PT3S}"), await site.callers.ask(delay=3)
    await waits.began()
    at_work = [await site.callers.worker(delay=2), await site.callers.engine(delay=2)]
    for call in (asks.call, *at_work):
        await site.callers.agent_of(call, MODEL_CALLED)
    barely_begun = [await site.callers.worker(), await site.callers.engine()]
    just_asked = await site.callers.run(ANSWERS)
    await mortal_server.kill()
    await asyncio.sleep(OUTAGE)  # the outage itself
    await mortal_server.start()
    for call in (*at_work, *barely_begun):
        await call.check()
    await waits.check(None)
    await asks.check_answer()
    await just_asked.check(ANSWER)
    for service in ("stigma_api", "stigma_orchestrator", "ai_worker", "zigflow_worker"):
        await site.stack.process(service).wait_ready()
    await (await site.callers.engine()).check()
    await (await site.callers.run(ANSWERS)).check(ANSWER)
