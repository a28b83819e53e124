"""To whom an outcome goes: the newest attempt, the older ones, then by id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError

from services.stigma_orchestrator.tests.caller_activity import in_backoff
from services.stigma_orchestrator.tests.orchestration import (
    DIGEST,
    AgentWorkflow,
    Attempt,
    Call,
    Caller,
    Orchestrator,
    phase_of,
    reason_of,
    response,
    state_of,
    until,
)
from stigma.contracts import limits, tokens
from stigma.internal.v1.execution_pb2 import Bind
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma_orchestrator.delivery.bindings import Bindings

SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
FAILURE = ApplicationError("no", type="AUTHENTICATION", non_retryable=True)
Agent = WorkflowHandle[AgentWorkflow, object]


async def bind(agent: Agent, *binds: Bind, already: int = 1) -> None:
    """Signal further binds and wait until they are in the agent's history."""
    for one in binds:
        await agent.signal(AgentWorkflow.bind, one)
    await until(agent, SIGNALED, count=already + len(binds))


async def second_attempt(
    orchestrator: Orchestrator, call: Call
) -> tuple[WorkflowHandle[Caller, Any], Attempt, Attempt]:
    """Have a caller's first attempt fail and its second one wait."""
    orchestrator.caller.failures = 1
    caller, first = await orchestrator.call(call)
    return caller, first, await orchestrator.caller.attempts.get()


async def test_a_later_attempt_gets_the_outcome(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    caller, first, second = await second_attempt(orchestrator, Call())
    agent = await orchestrator.start(first.bind())
    await bind(agent, second.bind())
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    execution = await orchestrator.outcome(agent)
    assert (state_of(execution), execution.status.callback.bindings) == ("DELIVERED", 2)
    assert [request.token for request in orchestrator.sender.requests] == [second.token]


@pytest.mark.contract("request replayed / with another spec")
async def test_a_replayed_attempt_is_bound_once(orchestrator: Orchestrator) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await bind(agent, attempt.bind(), attempt.bind())
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    execution = await orchestrator.outcome(agent)
    assert execution.status.callback.bindings == 1


async def test_an_older_token_that_asks_again_is_the_newest(orchestrator: Orchestrator) -> None:
    """An activity reset goes back to attempt 1 and revives its token."""
    orchestrator.model.hold()
    caller, first, second = await second_attempt(orchestrator, Call())
    agent = await orchestrator.start(second.bind())
    await bind(agent, first.bind(), second.bind())
    orchestrator.model.release()
    await caller.result()
    execution = await orchestrator.outcome(agent)
    assert (state_of(execution), execution.status.callback.bindings) == ("DELIVERED", 2)
    assert orchestrator.sender.requests[0].token == second.token


@pytest.mark.parametrize("odd", ["digest", "workflow", "garbage"])
async def test_a_bind_that_does_not_belong_here_is_ignored(
    orchestrator: Orchestrator, odd: str
) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    other, stranger = await orchestrator.call()
    binds = {
        "digest": stranger.bind(spec_digest=b"another"),
        "workflow": stranger.bind(),
        "garbage": attempt.bind(token=b"\xff\xff\xff"),
    }
    agent = await orchestrator.start(attempt.bind())
    await bind(agent, binds[odd])
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    execution = await orchestrator.outcome(agent)
    assert execution.status.callback.bindings == 1
    assert (await other.describe()).status == WorkflowExecutionStatus.RUNNING
    await other.terminate()


async def test_an_older_attempt_that_still_waits_gets_the_outcome(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    gone = attempt.bind(token=attempt.token + b"\x28\x09")  # the same token with attempt 9
    agent = await orchestrator.start(attempt.bind())
    await bind(agent, gone)
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "SUPERSEDED")


async def test_a_success_reaches_a_caller_between_two_attempts(orchestrator: Orchestrator) -> None:
    orchestrator.caller.failures = 1
    orchestrator.model.hold()
    caller, first = await orchestrator.call(Call(backoff=50))
    agent = await orchestrator.start(first.bind())
    await in_backoff(caller)
    orchestrator.model.release()
    assert (await caller.result())["text"] == "42"
    execution = await orchestrator.outcome(agent)
    assert state_of(execution) == "DELIVERED"
    assert [bool(request.token) for request in orchestrator.sender.requests] == [True, False]


async def test_without_an_id_of_its_own_nobody_is_reached_between_two_attempts(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.caller.failures = 1
    orchestrator.model.hold()
    caller, first = await orchestrator.call(Call(backoff=50))
    one = first.bind()
    one.caller.activity_id = ""
    agent = await orchestrator.start(one)
    await in_backoff(caller)
    orchestrator.model.release()
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "RESOLVED_OR_GONE")
    await caller.terminate()


async def test_a_failure_waits_for_an_attempt_and_then_reaches_it(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.respond_with(FAILURE)
    orchestrator.model.hold()
    orchestrator.caller.failures = 1
    caller, first = await orchestrator.call(Call(backoff=4))
    agent = await orchestrator.start(first.bind())
    await in_backoff(caller)
    orchestrator.model.release()
    second = await orchestrator.caller.attempts.get()
    assert len(orchestrator.sender.requests) > 1, "nobody was tried by id in between"
    await bind(agent, second.bind())
    assert (await caller.result())["error"] == "AGENT_EXECUTION_FAILED"
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), state_of(execution)) == ("FAILED", "DELIVERED")


async def test_a_failure_reaches_an_attempt_that_never_binds(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(FAILURE)
    orchestrator.model.hold()
    orchestrator.caller.failures = 1
    caller, first = await orchestrator.call(Call(backoff=3))
    agent = await orchestrator.start(first.bind())
    await in_backoff(caller)
    orchestrator.model.release()
    assert (await caller.result())["error"] == "AGENT_EXECUTION_FAILED"
    assert state_of(await orchestrator.outcome(agent)) == "DELIVERED"


@pytest.mark.parametrize("failing", [False, True])
async def test_a_caller_that_is_gone_changes_nothing(
    orchestrator: Orchestrator, failing: bool
) -> None:
    orchestrator.model.respond_with(FAILURE if failing else response())
    orchestrator.model.hold()
    caller, attempt = await orchestrator.call()
    agent = await orchestrator.start(attempt.bind())
    await caller.terminate()
    orchestrator.model.release()
    execution = await orchestrator.outcome(agent)
    assert phase_of(execution) == ("FAILED" if failing else "COMPLETED")
    assert state_of(execution) == "RESOLVED_OR_GONE"


async def test_only_so_many_attempts_are_kept(orchestrator: Orchestrator) -> None:
    caller, attempt = await orchestrator.call()
    bindings = Bindings(DIGEST)
    for number in range(1, limits.MAX_BINDINGS + 10):
        token = TaskToken.FromString(attempt.token)
        token.attempt = number
        assert bindings.add(attempt.bind(token=token.SerializeToString()))
    kept = [TaskToken.FromString(one.token).attempt for one in bindings.newest_first()]
    assert kept == list(range(limits.MAX_BINDINGS + 9, 9, -1))
    await caller.terminate()


async def test_a_waiting_activity_is_kept_before_older_attempts_of_another(
    orchestrator: Orchestrator,
) -> None:
    caller, attempt = await orchestrator.call()
    bindings = Bindings(DIGEST)

    def add(activity_id: str, number: int) -> None:
        token = TaskToken.FromString(attempt.token)
        token.activity_id, token.attempt = activity_id, number
        assert bindings.add(attempt.bind(token=token.SerializeToString()))

    add("patient", 1)
    for number in range(1, limits.MAX_BINDINGS + 10):
        add("restless", number)
    assert list(bindings.newest_by_activity()) == ["restless", "patient"]
    assert len(bindings) == limits.MAX_BINDINGS
    # Each a further activity: the oldest one is let go.
    for number in range(limits.MAX_BINDINGS):
        add(f"{number}", 1)
    assert [*bindings.newest_by_activity()][::-1] == [f"{n}" for n in range(limits.MAX_BINDINGS)]
    await caller.terminate()


@pytest.mark.parametrize("failing", [False, True])
async def test_every_activity_that_waits_gets_the_outcome(
    orchestrator: Orchestrator, failing: bool
) -> None:
    orchestrator.model.respond_with(FAILURE if failing else response())
    orchestrator.model.hold()
    caller, one, two = await orchestrator.pair(Call(), Call())
    agent = await orchestrator.start(one.bind())
    await bind(agent, two.bind())
    orchestrator.model.release()
    result = await caller.result()
    expected = {"error": "AGENT_EXECUTION_FAILED"} if failing else {"text": "42", "id": agent.id}
    assert [expected.items() <= each.items() for each in result] == [True, True]
    execution = await orchestrator.outcome(agent)
    assert (state_of(execution), execution.status.callback.bindings) == ("DELIVERED", 2)


async def test_an_activity_that_is_bound_during_a_delivery_gets_the_outcome(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.sender.hold()
    caller, one, two = await orchestrator.pair(Call(), Call())
    agent = await orchestrator.start(one.bind())
    await orchestrator.sender.sending.wait()
    await bind(agent, two.bind())
    orchestrator.sender.release()
    assert [each["text"] for each in await caller.result()] == ["42", "42"]
    assert state_of(await orchestrator.outcome(agent)) == "DELIVERED"


async def test_a_failure_reaches_two_activities_between_two_attempts(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.respond_with(FAILURE)
    orchestrator.model.hold()
    orchestrator.caller.failures = 2
    caller, one, two = await orchestrator.pair(Call(backoff=4), Call(backoff=5))
    agent = await orchestrator.start(one.bind())
    await bind(agent, two.bind())
    await in_backoff(caller)
    orchestrator.model.release()
    result = await caller.result()
    assert [each["error"] for each in result] == ["AGENT_EXECUTION_FAILED"] * 2
    assert state_of(await orchestrator.outcome(agent)) == "DELIVERED"
    by_id = [request for request in orchestrator.sender.requests if not request.token]
    fingerprints = {request.execution.status.callback.fingerprint for request in by_id}
    assert fingerprints == {tokens.fingerprint(one.token), tokens.fingerprint(two.token)}


async def test_what_one_activity_was_told_stays_true_when_another_is_unreachable(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.model.hold()
    caller, one, two = await orchestrator.pair(Call(), Call())
    foreign = two.bind()
    foreign.caller.namespace = "temporal-system"
    agent = await orchestrator.start(one.bind())
    await bind(agent, foreign)
    orchestrator.model.release()
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "DELIVERED")
    assert (await agent.describe()).status == WorkflowExecutionStatus.COMPLETED
    await caller.terminate()


async def test_an_undeliverable_answer_stays_readable(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(response("ответ"))
    caller, attempt = await orchestrator.call()
    foreign = attempt.bind()
    foreign.caller.namespace = "temporal-system"
    agent = await orchestrator.start(foreign)
    execution = await orchestrator.outcome(agent)
    assert (phase_of(execution), reason_of(execution)) == ("COMPLETED", "UNDELIVERABLE")
    assert (state_of(execution), execution.status.output.text) == ("UNDELIVERABLE", "ответ")
    assert execution.status.callback.message == "Temporal refused the delivery: INVALID_ARGUMENT"
    assert (await agent.describe()).status == WorkflowExecutionStatus.FAILED
    await caller.terminate()


async def test_an_undeliverable_failure_keeps_its_own_reason(orchestrator: Orchestrator) -> None:
    orchestrator.model.respond_with(FAILURE)
    caller, attempt = await orchestrator.call()
    foreign = attempt.bind()
    foreign.caller.namespace = "temporal-system"
    execution = await orchestrator.outcome(await orchestrator.start(foreign))
    assert (phase_of(execution), reason_of(execution)) == ("FAILED", "AUTHENTICATION")
    assert state_of(execution) == "UNDELIVERABLE"
    await caller.terminate()


async def test_delivery_is_given_up_at_the_callers_deadline(orchestrator: Orchestrator) -> None:
    orchestrator.sender.hold()
    caller, attempt = await orchestrator.call()
    one = attempt.bind()
    one.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=6))
    execution = await orchestrator.outcome(await orchestrator.start(one))
    assert (phase_of(execution), state_of(execution)) == ("COMPLETED", "UNDELIVERABLE")
    assert "deadline" in execution.status.callback.message
    await caller.terminate()
