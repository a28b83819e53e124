"""Looking after a caller that waits long: it is kept alive, and its end is noticed."""

from __future__ import annotations

import uuid
from datetime import UTC, timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    ResetWorkflowExecutionRequest,
    UnpauseActivityRequest,
)
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from services.stigma_orchestrator.tests.orchestration import (
    AgentWorkflow,
    Attempt,
    Call,
    Orchestrator,
    phase_of,
    reason_of,
    state_of,
    until,
)
from services.stigma_orchestrator.tests.watches import lost_in_the_end, watching
from services.stigma_orchestrator.tests.workflow_runs import Executions
from stigma.contracts import limits
from stigma.contracts.payloads import json_payload
from stigma_orchestrator.settings import OrchestratorSettings
from tests.stack.waiting import eventually

Handle = WorkflowHandle[Any, Any]
SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
HEARTBEAT_TIMEOUT = 4.0


@pytest.fixture(autouse=True, params=["kept"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Way to watch callers that declare their heartbeat timeout, which is short here."""
    if request.param == "kept":
        monkeypatch.setattr(limits, "LEAST_KEPT_HEARTBEAT_TIMEOUT", timedelta())
    return str(request.param)


BOTH_WAYS = pytest.mark.parametrize("way", ["kept", "tried again"], indirect=True)


async def looks(
    orchestrator: Orchestrator,
    agent: Handle,
    count: int,
    *,
    state: PendingActivityState.ValueType | None = None,
) -> PendingActivityInfo:
    """Wait until the watch over the caller has found it waiting `count` more times.

    Between two of its looks, the watch is to be found in a `state`, where one is given.
    """
    before = orchestrator.looks.counts[agent.id]

    async def look() -> PendingActivityInfo | None:
        if orchestrator.looks.counts[agent.id] < before + count:
            return None
        pending = (await agent.describe()).raw_description.pending_activities
        watch = next((each for each in pending if each.activity_type.name == "watch_caller"), None)
        return watch if watch and state in {None, watch.state} else None

    found = await eventually(look, what=f"{count} looks")
    assert found is not None
    return found


async def watched(
    orchestrator: Orchestrator, call: Call | None = None, *, declared: bool = True
) -> tuple[Handle, Attempt, Handle]:
    """Start a caller and an agent that works until released."""
    orchestrator.model.hold()
    call = call or Call(heartbeat_timeout=HEARTBEAT_TIMEOUT)
    caller, attempt = await orchestrator.call(call)
    bind = attempt.bind(heartbeat_timeout=call.heartbeat_timeout if declared else None)
    return caller, attempt, await orchestrator.start(bind)


@BOTH_WAYS
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
async def test_heartbeats_keep_a_waiting_caller_alive(
    orchestrator: Orchestrator, declared: bool, way: str
) -> None:
    caller, attempt, agent = await watched(orchestrator, declared=declared)
    is_kept = way == "kept" and declared
    waits_as = (
        PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        if is_kept
        else PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    )
    # Longer than the heartbeat timeout.
    between = await looks(orchestrator, agent, 6, state=waits_as)
    assert await heartbeat_details(caller) == []
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    # Waiting held no slot and wrote nothing: the caller's activity is still in its first attempt,
    # and the watch is one event.
    assert (between.attempt == 1) is is_kept
    assert orchestrator.caller.attempts.empty()
    assert attempt.number == 1
    events = [event.event_type async for event in agent.fetch_history_events()]
    assert events.count(EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED) == 1  # the model call


async def test_heartbeats_for_a_document_name_the_execution(orchestrator: Orchestrator) -> None:
    """No history has it before the end; the details of another caller are its own."""
    orchestrator.model.hold()
    call = Call(heartbeat_timeout=HEARTBEAT_TIMEOUT)
    caller, attempt = await orchestrator.call(call, f"run-{uuid.uuid4().hex}")
    agent = await orchestrator.start(attempt.bind(heartbeat_timeout=HEARTBEAT_TIMEOUT))
    await looks(orchestrator, agent, 1)
    assert await heartbeat_details(caller) == [json_payload(agent.id)]
    orchestrator.model.release()
    await caller.result()


async def heartbeat_details(caller: Handle) -> list[Payload]:
    """The details of the newest heartbeat of a caller's activity."""
    [pending] = (await caller.describe()).raw_description.pending_activities
    return list(pending.heartbeat_details.payloads)


async def test_temporal_shows_the_heartbeat_timeout(orchestrator: Orchestrator) -> None:
    """What the watch goes by when a caller declares none."""
    caller, _, _ = await watched(orchestrator)
    (pending,) = (await caller.describe()).raw_description.pending_activities
    shown = pending.activity_options.heartbeat_timeout.ToTimedelta()
    assert shown == timedelta(seconds=HEARTBEAT_TIMEOUT)
    await caller.terminate()


@BOTH_WAYS
@pytest.mark.contract("caller cancelled, waits for cancellation (foreign)")
async def test_a_caller_that_waits_for_its_cancellation_is_answered(
    orchestrator: Orchestrator, executions: Executions
) -> None:
    caller, attempt = await orchestrator.call(
        Call(heartbeat_timeout=HEARTBEAT_TIMEOUT, wait_for_cancellation=True)
    )
    handle = await executions.start_held(attempt.bind(heartbeat_timeout=HEARTBEAT_TIMEOUT))
    await looks(orchestrator, handle, 1)
    await caller.cancel()
    result = await caller.result()
    assert result["cancelled"]
    assert result["details"][0]["reason"] == "CANCELLED"
    execution = await executions.outcome(handle)
    assert (phase_of(execution), state_of(execution)) == ("CANCELLED", "DELIVERED")
    assert execution.status.failure.message == "cancelled by its caller"


@BOTH_WAYS
@pytest.mark.contract("caller terminated, timed out")
@pytest.mark.parametrize("end", ["terminated", "closed"])
async def test_an_agent_whose_caller_is_gone_is_cancelled(
    orchestrator: Orchestrator, end: str
) -> None:
    caller, _, agent = await watched(orchestrator)
    await (caller.terminate() if end == "terminated" else caller.cancel())
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("CANCELLED", "CALLER_GONE")
    assert state_of(execution) == "RESOLVED_OR_GONE"


@pytest.mark.contract("caller terminated, timed out")
async def test_an_agent_whose_callers_activity_timed_out_is_cancelled(
    orchestrator: Orchestrator,
) -> None:
    call = Call(heartbeat_timeout=HEARTBEAT_TIMEOUT, schedule_to_close=2)
    caller, _, agent = await watched(orchestrator, call)
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("CANCELLED", "CALLER_GONE")
    await caller.terminate()


@BOTH_WAYS
@pytest.mark.contract("caller activity paused, unpaused, reset; caller reset or continued-as-new")
async def test_a_paused_caller_is_waited_for(orchestrator: Orchestrator) -> None:
    caller, attempt, agent = await watched(orchestrator)
    service = orchestrator.client.workflow_service
    execution = WorkflowExecution(workflow_id=caller.id)
    await service.pause_activity(
        PauseActivityRequest(namespace="default", execution=execution, id=attempt.activity_id)
    )
    await looks(orchestrator, agent, 3)
    await service.unpause_activity(
        UnpauseActivityRequest(namespace="default", execution=execution, id=attempt.activity_id)
    )
    await looks(orchestrator, agent, 2)
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    assert state_of(await orchestrator.outcome(agent)) == "DELIVERED"


@pytest.mark.contract("caller activity paused, unpaused, reset; caller reset or continued-as-new")
async def test_the_outcome_reaches_an_activity_that_was_reset(orchestrator: Orchestrator) -> None:
    caller, attempt, agent = await watched(orchestrator)
    await orchestrator.client.workflow_service.reset_activity(
        ResetActivityRequest(
            namespace="default",
            execution=WorkflowExecution(workflow_id=caller.id),
            id=attempt.activity_id,
        )
    )
    await looks(orchestrator, agent, 3)
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    assert phase_of(await orchestrator.outcome(agent)) == "COMPLETED"


@pytest.mark.contract("caller activity paused, unpaused, reset; caller reset or continued-as-new")
async def test_a_reset_caller_is_followed(orchestrator: Orchestrator) -> None:
    caller, attempt, agent = await watched(orchestrator)
    await looks(orchestrator, agent, 1)
    finished = await until(caller, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
    await orchestrator.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=caller.id, run_id=attempt.run_id),
            workflow_task_finish_event_id=finished.event_id,
            request_id="reset",
            reason="test",
        )
    )
    after = await orchestrator.caller.attempts.get()
    assert after.run_id != attempt.run_id
    # Until the new run's attempt is bound, the old run is gone, but it has a successor.
    await looks(orchestrator, agent, 4)
    assert (await agent.describe()).status == WorkflowExecutionStatus.RUNNING
    await agent.signal(AgentWorkflow.bind, after.bind(heartbeat_timeout=HEARTBEAT_TIMEOUT))
    await looks(orchestrator, agent, 1)
    orchestrator.model.release()
    newest = orchestrator.client.get_workflow_handle(caller.id)
    assert (await newest.result())["text"] == "42"
    execution = await orchestrator.outcome(agent)
    assert (state_of(execution), execution.status.callback.bindings) == ("DELIVERED", 2)


async def test_a_caller_between_two_attempts_is_waited_for(orchestrator: Orchestrator) -> None:
    orchestrator.caller.failures = 1
    call = Call(heartbeat_timeout=HEARTBEAT_TIMEOUT, backoff=50)
    caller, _, agent = await watched(orchestrator, call)
    await looks(orchestrator, agent, 3)
    assert (await agent.describe()).status == WorkflowExecutionStatus.RUNNING
    await caller.terminate()
    assert reason_of(await orchestrator.outcome(agent)) == "CALLER_GONE"


async def test_each_binding_is_watched_anew(orchestrator: Orchestrator) -> None:
    caller, attempt, agent = await watched(orchestrator)
    await looks(orchestrator, agent, 2)
    await agent.signal(AgentWorkflow.bind, attempt.bind(heartbeat_timeout=HEARTBEAT_TIMEOUT))
    await until(agent, SCHEDULED, count=3)  # the model call and two watches
    await looks(orchestrator, agent, 2)
    await caller.terminate()
    assert reason_of(await orchestrator.outcome(agent)) == "CALLER_GONE"


async def test_a_caller_that_answered_meanwhile_is_not_failed(orchestrator: Orchestrator) -> None:
    """A failure after the caller has gone leaves the agent's own outcome alone."""
    failure = ApplicationError("no", type="AUTHENTICATION", non_retryable=True)
    orchestrator.model.respond_with(failure)
    caller, _, agent = await watched(orchestrator, Call(heartbeat_timeout=None), declared=False)
    await caller.terminate()
    orchestrator.model.release()
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "AUTHENTICATION")


async def watched_pair(
    orchestrator: Orchestrator, one: Call | None = None
) -> tuple[Handle, Handle]:
    """Start a caller of two activities, both bound to an agent that works until released."""
    orchestrator.model.hold()
    call = Call(heartbeat_timeout=HEARTBEAT_TIMEOUT)
    caller, first, second = await orchestrator.pair(one or call, call)
    agent = await orchestrator.start(first.bind(heartbeat_timeout=HEARTBEAT_TIMEOUT))
    await agent.signal(AgentWorkflow.bind, second.bind(heartbeat_timeout=HEARTBEAT_TIMEOUT))
    await until(agent, SCHEDULED, count=3)  # the model call and two watches
    return caller, agent


async def test_heartbeats_keep_every_waiting_activity_alive(orchestrator: Orchestrator) -> None:
    caller, agent = await watched_pair(orchestrator)
    await looks(orchestrator, agent, 6)  # longer than the heartbeat timeout
    orchestrator.model.release()
    assert [each["text"] for each in await caller.result()] == ["42", "42"]
    assert orchestrator.caller.attempts.empty()


async def test_an_agent_works_on_while_one_of_its_activities_waits(
    orchestrator: Orchestrator,
) -> None:
    short = Call(heartbeat_timeout=HEARTBEAT_TIMEOUT, schedule_to_close=2)
    caller, agent = await watched_pair(orchestrator, short)
    await until(agent, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)  # one is gone
    await looks(orchestrator, agent, 6)
    assert (await agent.describe()).status == WorkflowExecutionStatus.RUNNING
    await caller.terminate()
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("CANCELLED", "CALLER_GONE")


async def test_an_activity_that_asks_for_cancellation_stops_the_agent_of_both(
    orchestrator: Orchestrator,
) -> None:
    patient = Call(heartbeat_timeout=HEARTBEAT_TIMEOUT, wait_for_cancellation=True)
    caller, agent = await watched_pair(orchestrator, patient)
    await caller.signal("cancel_first")
    one, two = await caller.result()
    assert one["cancelled"]
    assert (two["error"], two["details"]["reason"]) == ("AGENT_EXECUTION_CANCELLED", "CANCELLED")
    assert state_of(await orchestrator.outcome(agent)) == "DELIVERED"


@BOTH_WAYS
async def test_a_caller_that_may_not_be_looked_up_is_given_one_heartbeat_timeout(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def denied(*_: object, **__: object) -> None:
        raise RPCError("denied", RPCStatusCode.PERMISSION_DENIED, b"")

    monkeypatch.setattr("stigma_orchestrator.delivery.caller_look.find_pending_activity", denied)
    monkeypatch.setattr(
        "stigma_orchestrator.delivery.deliver_activity.find_pending_activity", denied
    )
    caller, _, agent = await watched(orchestrator)
    await looks(orchestrator, agent, 2)
    await caller.terminate()
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("CANCELLED", "CALLER_GONE")
    assert state_of(execution) == "RESOLVED_OR_GONE"
    # Not at the first check that did not find it: an attempt might have been about to start.
    ended = execution.status.end_time.ToDatetime(UTC)
    closed = (await caller.describe()).close_time
    assert closed is not None
    assert ended - closed >= timedelta(seconds=HEARTBEAT_TIMEOUT)


async def test_a_caller_that_may_not_be_looked_up_and_returns_is_served(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def denied(*_: object, **__: object) -> None:
        raise RPCError("denied", RPCStatusCode.PERMISSION_DENIED, b"")

    monkeypatch.setattr("stigma_orchestrator.delivery.caller_look.find_pending_activity", denied)
    orchestrator.caller.failures = 1
    call = Call(heartbeat_timeout=HEARTBEAT_TIMEOUT, backoff=2)
    caller, _, agent = await watched(orchestrator, call)
    again = await orchestrator.caller.attempts.get()
    await agent.signal(AgentWorkflow.bind, again.bind(heartbeat_timeout=HEARTBEAT_TIMEOUT))
    await until(agent, SCHEDULED, count=3)
    await looks(orchestrator, agent, 5)
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"


@pytest.mark.parametrize("is_watched", [False])
@pytest.mark.parametrize("end", [watching, lost_in_the_end], ids=["stops", "is killed"])
async def test_another_worker_goes_on_with_what_one_has_kept(
    orchestrator: Orchestrator, settings: OrchestratorSettings, end: Any
) -> None:
    """Before the caller's heartbeat timeout is over, which would be a second attempt."""
    caller, attempt, agent = await watched(orchestrator, Call(heartbeat_timeout=20))
    async with end(orchestrator.client, orchestrator.looks, settings) as kept:
        await looks(orchestrator, agent, 1)
        await eventually(lambda: len(kept) == 1, what="a watch that is kept")
    async with watching(orchestrator.client, orchestrator.looks, settings) as kept:
        assert (await looks(orchestrator, agent, 1)).attempt == 2
        await looks(orchestrator, agent, 1)
        orchestrator.model.release()
        assert (await caller.result())["text"] == "42"
        await eventually(lambda: len(kept) == 0, what="an end of the watch")
    assert attempt.number == 1
    assert orchestrator.caller.attempts.empty()


@pytest.mark.parametrize("is_watched", [False])
async def test_no_more_watches_are_kept_than_may_be(
    orchestrator: Orchestrator, settings: OrchestratorSettings
) -> None:
    one = settings.model_copy(update={"max_kept_watches": 1})
    async with watching(orchestrator.client, orchestrator.looks, one) as kept:
        first, _, agent = await watched(orchestrator)
        await eventually(lambda: len(kept) == 1, what="a watch that is kept")
        second, _, other = await watched(orchestrator)
        assert (await looks(orchestrator, other, 6)).attempt > 1
        assert (await looks(orchestrator, agent, 1)).attempt == 1
        assert len(kept) == 1
        orchestrator.model.release()
        assert (await first.result())["text"] == (await second.result())["text"] == "42"
