"""What an execution comes to, and that its caller and its own record always agree."""

from __future__ import annotations

import asyncio
import math

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from services.stigma_orchestrator.tests.orchestration import (
    Call,
    Orchestrator,
    pause,
    phase_of,
    reason_of,
    response,
    state_of,
    until,
)
from services.stigma_orchestrator.tests.workflow_runs import Executions
from stigma.agent.v1.agent_execution_pb2 import CALLBACK_PAYLOAD_OUTPUT, AgentExecution
from stigma.contracts import errors, payloads, search_attributes

REASONS = [
    "RATE_LIMITED",
    "PROVIDER_UNAVAILABLE",
    "MODEL_TIMEOUT",
    "AUTHENTICATION",
    "CONTEXT_LENGTH",
    "CONTENT_FILTERED",
    "INVALID_REQUEST",
    "UNKNOWN_MODEL",
    "TOO_LARGE",
    "INTERNAL",
]
ACTIVITY_COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
CANCEL_REQUESTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
TIMER_FIRED = EventType.EVENT_TYPE_TIMER_FIRED
# Heartbeat timeout of a caller that is first looked at after ten seconds: an earlier timer is of
# something else.
LATER_CHECK = 60


@pytest.mark.contract("agent succeeds")
async def test_success_reaches_the_caller(orchestrator: Orchestrator) -> None:
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    execution = await orchestrator.outcome(agent)
    result = await caller.result()
    assert (result["id"], result["phase"], result["text"]) == (agent.id, "COMPLETED", "42")
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "DELIVERED")
    assert execution.status.usage.model_calls == execution.status.steps == 1
    assert execution.status.end_time == orchestrator.sender.requests[0].execution.status.end_time
    assert not execution.spec.callback_token


@pytest.mark.contract("foreign caller without heartbeat, with max_attempts = 1")
async def test_success_reaches_a_caller_without_heartbeat_or_retry(
    orchestrator: Orchestrator,
) -> None:
    caller, attempt = await orchestrator.call(Call(heartbeat_timeout=None, max_attempts=1))
    await orchestrator.start(attempt.bind())
    assert (await caller.result())["text"] == "42"


@pytest.mark.contract(
    "agent workflow terminated / run timeout / stuck on a bad deploy", "agent", "workflow"
)
async def test_an_execution_waits_for_the_repair_of_a_bad_deploy(
    orchestrator: Orchestrator, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as bad_deploy:
        bad_deploy.delattr(*executions.broken_without)
        caller, attempt = await orchestrator.call()
        handle = await executions.start(attempt.bind())
        await until(handle, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    result = await caller.result()
    assert (result["phase"], result["text"]) == ("COMPLETED", executions.output)
    assert phase_of(await executions.outcome(handle)) == "COMPLETED"


@pytest.mark.contract("no token")
async def test_an_agent_without_a_caller_ends_normally(orchestrator: Orchestrator) -> None:
    execution = await orchestrator.outcome(await orchestrator.start())
    assert execution.status.output.text == "42"
    assert not execution.status.HasField("callback")
    assert not orchestrator.sender.requests


@pytest.mark.contract("agent fails, any exception")
@pytest.mark.parametrize("reason", REASONS)
async def test_a_failure_reaches_the_caller_with_its_reason_and_step(
    orchestrator: Orchestrator, reason: str
) -> None:
    orchestrator.model.respond_with(ApplicationError("in words", type=reason, non_retryable=True))
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    result = await caller.result()
    assert result["error"] == "AGENT_EXECUTION_FAILED"
    assert result["message"] == f"{reason}: in words (at model_call 1)"
    assert (result["details"]["reason"], result["details"]["step"]) == (reason, "model_call 1")
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", reason)
    assert state_of(execution) == "DELIVERED"
    read = errors.execution_from_details(result["details"])
    assert read is not None
    assert read.status.failure == execution.status.failure
    assert state_of(read) == "DELIVERED"
    attributes = (await agent.describe()).typed_search_attributes
    assert attributes[search_attributes.PHASE] == "FAILED"


async def test_an_unknown_failure_is_internal(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(ApplicationError("odd", type="Odd", non_retryable=True))
    execution = await orchestrator.outcome(await orchestrator.start())
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "INTERNAL")


async def test_a_passing_failure_is_retried(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(
        ApplicationError("busy", type="RATE_LIMITED"), response("at last")
    )
    execution = await orchestrator.outcome(await orchestrator.start())
    assert execution.status.output.text == "at last"
    assert execution.status.steps == 1


@pytest.mark.contract("agent exceeds its deadline")
async def test_the_deadline_reaches_the_caller(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind(), timeout=1)
    result = await caller.result()
    assert (result["error"], result["details"]["reason"]) == ("AGENT_EXECUTION_TIMEOUT", "DEADLINE")
    assert phase_of(await orchestrator.outcome(agent)) == "TIMED_OUT"
    attributes = (await agent.describe()).typed_search_attributes
    assert attributes[search_attributes.PHASE] == "TIMED_OUT"


@pytest.mark.contract("agent cancelled through the API")
async def test_a_cancel_reaches_the_caller(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await orchestrator.model.called.wait()
    await agent.cancel(reason="no longer needed")
    result = await caller.result()
    assert (result["error"], result["details"]["reason"]) == (
        "AGENT_EXECUTION_CANCELLED",
        "CANCELLED",
    )
    execution = await orchestrator.outcome(agent)
    assert phase_of(execution) == "CANCELLED"
    assert execution.status.failure.message == "no longer needed"
    described = await agent.describe()
    assert described.status == WorkflowExecutionStatus.CANCELED
    assert described.typed_search_attributes[search_attributes.PHASE] == "CANCELLED"


async def test_a_cancelled_execution_still_says_what_was_asked(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    accepted = AgentExecution(id="agent-1")
    accepted.spec.agent_id = "reviewer@3"
    accepted.spec.agent.model = "local:test"
    accepted.spec.config.temperature = 0.5
    accepted.spec.caller.workflow_id = "caller-1"
    accepted.spec.labels["team"] = "core"
    accepted.spec.callback_deadline.GetCurrentTime()
    accepted.status.deadline.GetCurrentTime()
    memo = {"execution": payloads.to_binary_payload(accepted), "digest": "d"}
    agent = await orchestrator.start(memo=memo, agent_id="reviewer@3", labels={"team": "core"})
    await orchestrator.model.called.wait()
    await agent.cancel(reason="no longer needed")
    execution = await orchestrator.outcome(agent)
    assert execution.spec == accepted.spec
    assert (phase_of(execution), reason_of(execution)) == ("CANCELLED", "CANCELLED")
    assert execution.status.HasField("end_time")


async def test_a_cancel_with_a_long_reason_leaves_a_short_one(orchestrator: Orchestrator) -> None:
    """Given to Temporal directly: a reason carried whole would end the run without a trace."""
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await orchestrator.model.called.wait()
    await agent.cancel(reason="é" * 900_000)
    assert (await caller.result())["error"] == "AGENT_EXECUTION_CANCELLED"
    execution = await orchestrator.outcome(agent)
    assert phase_of(execution) == "CANCELLED"
    assert execution.status.failure.message == "é" * 500


async def test_a_cancel_stops_the_model_call_within_three_seconds(
    orchestrator: Orchestrator,
) -> None:
    """Of some calls at least one: a machine may stand still for a while."""
    clock = asyncio.get_running_loop().time
    lasted: list[float] = []
    while min(lasted, default=math.inf) >= 3:
        assert len(lasted) < 4, lasted
        orchestrator.model.hold()
        orchestrator.model.cancelled.clear()
        agent = await orchestrator.start()
        await orchestrator.model.called.wait()
        await agent.cancel()
        await orchestrator.outcome(agent)
        began = clock()
        await orchestrator.model.cancelled.wait()
        lasted.append(clock() - began)


async def test_a_cancel_before_the_first_task_runs_nothing(
    orchestrator: Orchestrator, executions: Executions
) -> None:
    caller, attempt = await orchestrator.call()
    async with orchestrator.stopped():
        handle = await executions.start_held(attempt.bind())
        await handle.cancel()
    assert (await caller.result())["error"] == executions.cancelled_error
    assert phase_of(await executions.outcome(handle)) == "CANCELLED"
    assert not await executions.has_worked(handle)


async def test_success_wins_over_a_cancel_that_comes_with_it(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await orchestrator.model.called.wait()
    async with orchestrator.stopped():
        await agent.cancel()
        orchestrator.model.release()
        await until(agent, ACTIVITY_COMPLETED)
    assert (await caller.result())["text"] == "42"
    assert phase_of(await orchestrator.outcome(agent)) == "COMPLETED"


async def test_success_wins_over_a_deadline_that_comes_with_it(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind(LATER_CHECK), timeout=5)
    await orchestrator.model.called.wait()
    async with orchestrator.stopped():
        orchestrator.model.release()
        await until(agent, ACTIVITY_COMPLETED)
        await until(agent, TIMER_FIRED)
    assert (await caller.result())["text"] == "42"
    execution = await orchestrator.outcome(agent)
    assert phase_of(execution) == "COMPLETED"
    assert execution.status.end_time.ToNanoseconds() > execution.status.deadline.ToNanoseconds()


async def test_a_cancel_wins_over_an_unfinished_answer_that_comes_with_it(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.respond_with(pause())
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await orchestrator.model.called.wait()
    async with orchestrator.stopped():
        await agent.cancel()
        orchestrator.model.release()
        await until(agent, ACTIVITY_COMPLETED)
    assert (await caller.result())["error"] == "AGENT_EXECUTION_CANCELLED"
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), execution.status.steps) == ("CANCELLED", 1)


@pytest.mark.contract("cancel or deadline during delivery", "agent", "workflow")
@pytest.mark.parametrize("event", ["cancel", "deadline"])
async def test_nothing_changes_a_success_that_is_being_delivered(
    orchestrator: Orchestrator, executions: Executions, event: str
) -> None:
    orchestrator.sender.hold()
    caller, attempt = await orchestrator.call()
    handle = await executions.start(attempt.bind(), timeout=5)
    await orchestrator.sender.sending.wait()
    if event == "cancel":
        await handle.cancel()
    else:
        # The local activity times out after 5 s as well, and a regular one follows: the deadline is
        # over by then.
        scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        await until(handle, scheduled, count=executions.scheduled_activities)
    orchestrator.sender.release()
    result = await caller.result()
    assert (result["phase"], result["text"]) == ("COMPLETED", executions.output)
    execution = await executions.outcome(handle)
    # A delivery repeated after a lost task finds nobody waiting: as good as delivered.
    assert phase_of(execution) == "COMPLETED"
    assert state_of(execution) in {"DELIVERED", "RESOLVED_OR_GONE"}


@pytest.mark.contract("cancel or deadline during delivery")
async def test_nothing_changes_a_failure_that_is_being_delivered(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.respond_with(
        ApplicationError("no", type="AUTHENTICATION", non_retryable=True)
    )
    orchestrator.sender.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await orchestrator.sender.sending.wait()
    await agent.cancel()
    await until(agent, CANCEL_REQUESTED)
    orchestrator.sender.release()
    assert (await caller.result())["error"] == "AGENT_EXECUTION_FAILED"
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), state_of(execution)) == ("FAILED", "DELIVERED")


async def test_a_second_cancel_changes_nothing(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    orchestrator.sender.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await orchestrator.model.called.wait()
    await agent.cancel(reason="the first")
    await orchestrator.sender.sending.wait()
    await agent.cancel(reason="the second")
    orchestrator.sender.release()
    assert (await caller.result())["error"] == "AGENT_EXECUTION_CANCELLED"
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), state_of(execution)) == ("CANCELLED", "DELIVERED")
    assert execution.status.failure.message == "the first"


@pytest.mark.contract("agent reset; agent continued-as-new")
async def test_a_reset_agent_still_answers(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await orchestrator.model.called.wait()
    finished = await until(agent, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
    await orchestrator.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=orchestrator.client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=agent.id, run_id=agent.first_execution_run_id or ""
            ),
            workflow_task_finish_event_id=finished.event_id,
            request_id="reset",
            reason="test",
        )
    )
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    newest = orchestrator.client.get_workflow_handle(agent.id, result_type=type(None))
    assert (await newest.describe()).run_id != agent.first_execution_run_id


async def test_the_output_alone_is_delivered_as_json(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(response("six times seven", output_json='{"answer": 42}'))
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind(), callback_payload=CALLBACK_PAYLOAD_OUTPUT)
    await orchestrator.outcome(agent)
    completed = await until(caller, ACTIVITY_COMPLETED)
    (payload,) = completed.activity_task_completed_event_attributes.result.payloads
    assert payload.metadata["encoding"] == b"json/plain"
    assert payload.data == b'{"answer": 42}'


async def test_the_query_shows_the_execution_and_its_conversation(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.respond_with(pause("thinking"), response())
    agent = await orchestrator.start()
    await orchestrator.outcome(agent)
    seen = await agent.query("execution", result_type=type(await agent.result()))
    assert seen.spec.message == "What is six times seven?"
    said = ["".join(part.text for part in message.parts) for message in seen.status.messages]
    assert said == ["What is six times seven?", "thinking", "42"]
