"""SIGKILL at a chosen moment: whatever was under way is done once, and answered right.

That each call led to one execution is checked after every test, by its fixture.
"""

from __future__ import annotations

import asyncio

import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    CALLBACK_STATE_DELIVERED,
    CALLBACK_STATE_RESOLVED_OR_GONE,
)
from tests.reliability.calls import FAILED, events
from tests.reliability.fault_site import CALLER, ENGINE_HEARTBEAT_SECONDS, FaultSite
from tests.stack.faults import LoseReply, Pause

ANY_SERVICE = "any service SIGKILLed at any point, delivery included"
BEFORE_PENDING = "zigflow_worker SIGKILLed between taking the task and returning pending"
START = "SignalWithStartWorkflowExecution"
COMPLETE = "RespondActivityTaskCompleted"
FAIL = "RespondActivityTaskFailed"
MODEL_SECONDS = 5.0
"""Of a call of the model into which a kill falls, also where the kill is late."""


async def reached(pause: Pause) -> None:
    await asyncio.wait_for(pause.reached.wait(), 60)


@pytest.mark.contract(ANY_SERVICE)
async def test_orchestrator_before_it_delivers(site: FaultSite) -> None:
    """A success and a failure, each held in its RPC."""
    success = site.temporal_of_orchestrator.pause(COMPLETE)
    failure = site.temporal_of_orchestrator.pause(
        FAIL, matches=lambda request: b"AGENT_EXECUTION_FAILED" in request
    )
    succeeds = await site.callers.worker()
    fails = await site.callers.worker(failure="FAILURE_REASON_INVALID_REQUEST")
    await asyncio.gather(reached(success), reached(failure))
    await site.stack.kill("stigma_orchestrator")
    await asyncio.gather(success.abandoned(), failure.abandoned())
    await site.restart("stigma_orchestrator")
    execution = await succeeds.check()
    told = await site.outcome(execution.id)
    assert told.phase == AGENT_EXECUTION_PHASE_COMPLETED
    result = await fails.result()
    assert (result["error"], result["reason"]) == ("AGENT_EXECUTION_FAILED", "INVALID_REQUEST")
    assert len(await events(fails.handle, FAILED)) == 1
    told = await site.outcome(result["execution_id"])
    assert told.phase == AGENT_EXECUTION_PHASE_FAILED
    assert told.callback.state == CALLBACK_STATE_DELIVERED


@pytest.mark.contract(ANY_SERVICE)
async def test_orchestrator_after_it_delivered_before_its_history_has_it(site: FaultSite) -> None:
    site.temporal_of_orchestrator.inject(COMPLETE, LoseReply())
    second_try = site.temporal_of_orchestrator.pause(COMPLETE)
    call = await site.callers.worker()
    await reached(second_try)
    await site.stack.kill("stigma_orchestrator")
    execution = await call.check()
    await site.restart("stigma_orchestrator")
    told = await site.outcome(execution.id)
    assert told.phase == AGENT_EXECUTION_PHASE_COMPLETED
    assert told.callback.state == CALLBACK_STATE_RESOLVED_OR_GONE


@pytest.mark.contract(ANY_SERVICE)
async def test_ai_worker_in_the_middle_of_a_model_call(site: FaultSite) -> None:
    models = site.stack.process("ai_worker").log
    seen = models.position()
    call = await site.callers.worker(delay=MODEL_SECONDS)
    started = await models.wait_for("model_call_started", since=seen)
    await site.stack.kill("ai_worker")
    await site.restart("ai_worker")
    execution = await call.check()
    assert execution.id == started["execution_id"]
    assert execution.status.usage.model_calls == 1
    calls = models.events("model_call_started", execution_id=execution.id)
    assert [one["attempt"] for one in calls] == [1, 2]


@pytest.mark.contract(ANY_SERVICE)
@pytest.mark.parametrize("delay", [0, 8], ids=["agent ends meanwhile", "agent still works"])
async def test_api_after_it_started_the_agent_before_it_answered(
    site: FaultSite, delay: float
) -> None:
    site.temporal_of_api.inject(START, LoseReply())
    second_try = site.temporal_of_api.pause(START)
    call = await site.callers.worker(delay=delay)
    await reached(second_try)
    await site.stack.kill("stigma_api")
    await site.restart("stigma_api")
    await call.check()


@pytest.mark.contract(ANY_SERVICE)
async def test_callers_worker_while_the_agent_works(site: FaultSite) -> None:
    caller = site.stack.process(CALLER).log
    call = await site.callers.worker(delay=3)
    await caller.wait_for("pending", workflow_id=call.handle.id)
    await site.stack.kill(CALLER)
    seen = caller.position()
    await site.restart(CALLER)
    await call.check()
    assert not caller.events("token_taken", since=seen), "nobody had to ask again"


@pytest.mark.contract(BEFORE_PENDING)
async def test_engine_before_the_api_hears_of_its_call(site: FaultSite) -> None:
    engine = site.stack.process("zigflow_worker").log
    asked = site.api.pause("StartAgent")
    call = await site.callers.engine()
    await reached(asked)
    await site.stack.kill("zigflow_worker")
    await asked.abandoned()
    await site.restart("zigflow_worker")
    await call.check()
    attempts = engine.events("token_taken", workflow_id=call.handle.id)
    assert [one["attempt"] for one in attempts] == [1, 2]


@pytest.mark.contract(BEFORE_PENDING)
@pytest.mark.parametrize("work", [0.0, 2.5], ids=["agent ends meanwhile", "agent still works"])
async def test_engine_before_it_hears_from_the_api(site: FaultSite, work: float) -> None:
    """The agent runs, and its caller does not know; the next attempt gets the same agent."""
    site.temporal_of_api.inject(START, LoseReply())
    held = site.temporal_of_api.pause(START)
    call = await site.callers.engine(delay=work * ENGINE_HEARTBEAT_SECONDS)
    await reached(held)
    await site.stack.kill("zigflow_worker")
    await site.restart("zigflow_worker")
    await call.check()


@pytest.mark.contract(ANY_SERVICE, "workflow")
async def test_engine_while_a_document_runs(site: FaultSite) -> None:
    run = await site.callers.run("{wait: PT2S}")
    await run.began()
    first = (await run.engine.describe()).run_id
    await site.stack.kill("zigflow_worker")
    await site.restart("zigflow_worker")
    execution = await run.check(None)
    assert (await run.engine.describe()).run_id == first == execution.status.run.run_id


@pytest.mark.contract(ANY_SERVICE, "workflow")
async def test_orchestrator_before_it_delivers_what_a_document_came_to(site: FaultSite) -> None:
    """A success and a failure, each held in its RPC."""
    success = site.temporal_of_orchestrator.pause(COMPLETE)
    failure = site.temporal_of_orchestrator.pause(
        FAIL, matches=lambda request: b"WORKFLOW_EXECUTION_FAILED" in request
    )
    succeeds = await site.callers.run("{set: {answer: 42}}")
    fails = await site.callers.run("{raise: {error: {type: about:blank, status: 500}}}")
    await asyncio.gather(reached(success), reached(failure))
    await site.stack.kill("stigma_orchestrator")
    await asyncio.gather(success.abandoned(), failure.abandoned())
    await site.restart("stigma_orchestrator")
    await succeeds.check({"answer": 42})
    result = await fails.result()
    assert (result["error"], result["reason"], result["step"]) == (
        "WORKFLOW_EXECUTION_FAILED",
        "WORKFLOW_ERROR",
        "/do/0/task",
    )
    assert len(await events(fails.handle, FAILED)) == 1


@pytest.mark.contract(ANY_SERVICE, "workflow")
async def test_api_after_it_started_a_workflow_before_it_answered(site: FaultSite) -> None:
    site.temporal_of_api.inject(START, LoseReply())
    second_try = site.temporal_of_api.pause(START)
    run = await site.callers.run("{set: {answer: 42}}", heartbeat_timeout=ENGINE_HEARTBEAT_SECONDS)
    await reached(second_try)
    await site.stack.kill("stigma_api")
    await site.restart("stigma_api")
    await run.check({"answer": 42})
