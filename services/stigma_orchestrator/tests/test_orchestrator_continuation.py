"""Continue-as-new: nothing is lost on the way, whatever comes at that moment."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus

from services.stigma_orchestrator.tests.orchestration import (
    AgentWorkflow,
    Call,
    Orchestrator,
    pause,
    phase_of,
    reason_of,
    response,
    state_of,
    until,
)
from tests.stack.waiting import eventually

# Temporal suggests it from 4 MiB of history on: the start and the fourth model call exceed that.
LONG = "x" * 1_000_000
LAST_STEP = 4
ACTIVITY_COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED


@pytest.mark.contract("agent reset; agent continued-as-new")
async def test_conversation_usage_and_bindings_are_carried(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(*[pause(str(step)) for step in range(1, 6)], response("done"))
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind(), message=LONG)
    assert (await caller.result())["text"] == "done"
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "DELIVERED")
    assert execution.status.usage.model_calls == execution.status.steps == LAST_STEP + 2
    assert execution.status.usage.input_tokens == 60
    first = orchestrator.client.get_workflow_handle(agent.id, run_id=agent.first_execution_run_id)
    described = await first.describe()
    assert described.status == WorkflowExecutionStatus.CONTINUED_AS_NEW
    assert execution.status.start_time.ToDatetime() == described.start_time.replace(tzinfo=None)
    said = [message.parts[0].text for message in orchestrator.model.requests[-1].messages]
    assert said == [LONG, "1", "2", "3", "4", "5"]
    assert [request.step for request in orchestrator.model.requests] == [1, 2, 3, 4, 5, 6]


async def test_a_cancel_that_comes_with_it_wins(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(pause())
    orchestrator.model.hold(LAST_STEP)
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind(), message=LONG)
    await orchestrator.model.called.wait()
    async with orchestrator.stopped():
        await agent.cancel()
        orchestrator.model.release()
        await until(agent, ACTIVITY_COMPLETED, count=LAST_STEP)
    assert (await caller.result())["error"] == "AGENT_EXECUTION_CANCELLED"
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), execution.status.steps) == ("CANCELLED", LAST_STEP)
    assert (await agent.describe()).run_id == agent.first_execution_run_id


async def test_a_cancel_after_it_is_heard(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(pause())
    orchestrator.model.hold(LAST_STEP + 1)
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind(), message=LONG)
    await orchestrator.model.called.wait()
    await orchestrator.client.get_workflow_handle(agent.id).cancel(reason="enough")
    assert (await caller.result())["error"] == "AGENT_EXECUTION_CANCELLED"
    newest = orchestrator.client.get_workflow_handle(agent.id, result_type=type(None))
    execution = await orchestrator.outcome(newest)
    assert execution.status.failure.message == "enough"


async def test_a_binding_that_comes_with_it_is_kept(orchestrator: Orchestrator) -> None:
    orchestrator.caller.failures = 1
    orchestrator.model.respond_with(*[pause()] * LAST_STEP, response("done"))
    orchestrator.model.hold(LAST_STEP)
    caller, first = await orchestrator.call()
    second = await orchestrator.caller.attempts.get()
    agent = await orchestrator.start(first.bind(), message=LONG)
    await orchestrator.model.called.wait()
    async with orchestrator.stopped():
        orchestrator.model.release()
        await until(agent, ACTIVITY_COMPLETED, count=LAST_STEP)
        await agent.signal(AgentWorkflow.bind, second.bind())
    assert (await caller.result())["text"] == "done"
    execution = await orchestrator.outcome(agent)
    assert (state_of(execution), execution.status.callback.bindings) == ("DELIVERED", 2)


async def test_the_caller_is_watched_after_it(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(pause())
    orchestrator.model.hold(LAST_STEP + 1)
    caller, attempt = await orchestrator.call(Call(heartbeat_timeout=4))
    agent = await orchestrator.start(attempt.bind(heartbeat_timeout=4), message=LONG)
    await orchestrator.model.called.wait()
    newest = orchestrator.client.get_workflow_handle(agent.id, result_type=type(None))

    async def is_watched() -> bool:
        pending = (await newest.describe()).raw_description.pending_activities
        return any(one.activity_type.name == "watch_caller" for one in pending)

    await eventually(is_watched)
    await caller.terminate()
    assert reason_of(await orchestrator.outcome(newest)) == "CALLER_GONE"


async def test_what_is_too_large_to_carry_fails_with_a_reason(orchestrator: Orchestrator) -> None:
    small = [pause()] * (LAST_STEP - 1)
    orchestrator.model.respond_with(*small, pause("y" * 700_000))
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind(), message=LONG)
    assert (await caller.result())["details"]["reason"] == "TOO_LARGE"
    execution = await orchestrator.outcome(agent)
    assert "the limit is 1572864" in execution.status.failure.message
