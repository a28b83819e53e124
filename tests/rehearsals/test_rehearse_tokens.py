"""Tokens that are changed on the way, have lost their history, or lead to no delivery."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from stigma.agent.v1.agent_execution_pb2 import CALLBACK_STATE_RESOLVED_OR_GONE
from stigma.contracts.executions import phase_name
from tests.integration.executions import failure_of
from tests.rehearsals.operator import caller_in
from tests.rehearsals.rehearsal_environment import RehearsalEnvironment
from tests.stack.faults import Fail

RUNBOOK = "runbooks/token-corruption-or-loss.md"
STUCK = "runbooks/stuck-pending.md"
REFUSED = "runbooks/callback-tokens-refused.md"
DELIVERIES = "runbooks/deliveries-fail.md"

COMPLETE = "RespondActivityTaskCompleted"

ASK_ECHO = """
document: {dsl: 1.0.3, namespace: rehearsals, name: ask-echo, version: 1.0.0}
do:
  - ask: {call: agent, with: {agent: echo, message: "${ .message }"}}
"""


async def test_a_token_is_damaged_on_its_way(rehearsal: RehearsalEnvironment) -> None:
    fault = "a proxy that takes tokens for text"
    rehearsal.proxy.damaging = True
    run = await rehearsal.installation.run_document(ASK_ECHO, {"message": "lost"})
    with pytest.raises(WorkflowFailureError):
        await run.result()
    async with (
        rehearsal.operator(RUNBOOK, fault) as operator,
        rehearsal.operator(REFUSED, fault) as alerted,
    ):
        shown = await operator.sees("find", run.id, "none stuck")
        [line] = [one for one in shown.splitlines() if "token_rejected" in one and run.id in one]
        assert "invalid_argument" in line
        assert line in await alerted.follow("look")
        await operator.knows(REQUEST=_field(line, "request_id"))
        compared = (await operator.follow("compare")).splitlines()
        fingerprints = {
            _field(one, "event"): _field(one, "callback_fingerprint") for one in compared
        }
        assert fingerprints["token_taken"] != fingerprints["request_received"]
        assert fingerprints["token_rejected"] == fingerprints["request_received"]
        # The cure: what changes the bytes is gone, and the call is started again.
        rehearsal.proxy.damaging = False
        again = await rehearsal.installation.run_document(ASK_ECHO, {"message": "found"})
        assert await again.result() == "found"
        await operator.sees("verify", "echo@1", "none stuck")
        operator.cured()
        alerted.cured()


async def test_executions_are_lost_in_temporal(rehearsal: RehearsalEnvironment) -> None:
    """Nobody is left to deliver, one time with a history and one time without."""
    terminated = await rehearsal.call_held(f"terminated {uuid.uuid4().hex}")
    deleted = await rehearsal.call_held(f"deleted {uuid.uuid4().hex}")
    client = rehearsal.installation.client
    await client.get_workflow_handle(terminated.execution_id).terminate("a test wants it")
    async with (
        rehearsal.operator(STUCK, "an execution terminated in Temporal") as waiting,
        rehearsal.operator(RUNBOOK, "an execution deleted in Temporal") as operator,
    ):
        delete = f"temporal workflow delete --yes --workflow-id {deleted.execution_id}"
        await operator.prepares(delete)
        # Stuck pending, 3: its callback waits for ever.
        await waiting.knows(ID=terminated.execution_id)
        caller, activity = caller_in(await waiting.sees("look", "TERMINATED", "WAITING"))
        described = await waiting.types(f"temporal workflow describe --workflow-id {caller}")
        assert activity in described
        await waiting.knows(CALLER=caller, ACTIVITY=activity)
        await waiting.follow("release")
        # Token loss, 4.
        await operator.sees("find")
        await operator.knows(CALLER=deleted.workflow.id, ACTIVITY=await _pending(deleted))
        await operator.follow("release")
        failure = await failure_of(terminated)
        assert failure.type == "AGENT_EXECUTION_FAILED"
        assert failure.details[0]["reason"] == "TERMINATED"
        await waiting.sees("verify", "TERMINATED")
        waiting.cured()
        # Where none is left, the caller's next attempt has started one.
        (await rehearsal.gate.held(deleted.job.message, nth=2)).answer("as if nothing had been")
        assert await deleted.result() == "as if nothing had been"
        await operator.sees("verify", deleted.execution_id)
        operator.cured()


async def test_an_activity_was_answered_otherwise(rehearsal: RehearsalEnvironment) -> None:
    site = rehearsal.installation
    parked = await site.park()
    token = await site.tokens.of(parked.id)
    message = uuid.uuid4().hex
    started = await site.start(agent_id="held", message=message, callback_token=token)
    call = await rehearsal.gate.held(message)
    await site.client.get_async_activity_handle(task_token=token).complete("by somebody")
    assert await parked.result() == "by somebody"
    call.answer("too late")
    execution = await site.told(started.id)
    assert execution.status.callback.state == CALLBACK_STATE_RESOLVED_OR_GONE
    fault = "an activity that another completed"
    async with rehearsal.operator(RUNBOOK, fault) as operator:
        await operator.sees("find", started.id, "none stuck")
        await operator.knows(ID=started.id)
        assert "RESOLVED_OR_GONE" in await operator.follow("look")
        # The cure: nothing is to be cured, and the answer can be read.
        assert phase_name(execution) == "COMPLETED"
        await operator.sees("verify", "none stuck")
        operator.cured()


async def test_temporal_takes_no_completions(rehearsal: RehearsalEnvironment) -> None:
    temporal = rehearsal.temporal_of["stigma_orchestrator"]
    message = uuid.uuid4().hex
    called = await rehearsal.call_held(message)
    own = called.workflow.id.encode()
    temporal.inject(COMPLETE, Fail(), times=None, matches=lambda request: own in request)
    try:
        (await rehearsal.gate.held(message)).answer("late")
        async with rehearsal.operator(
            DELIVERIES, "a Temporal that takes no completions"
        ) as operator:
            logged = f'"execution_id": "{called.execution_id}"'
            await operator.is_told("look", "DELIVERY_RETRYING", 'error_type="UNAVAILABLE"', logged)
            # The cure: Temporal takes them again, and nothing is to be done by hand.
            temporal.clear()
            assert await called.result() == "late"
            await operator.sees("look", "none stuck")
            operator.cured()
    finally:
        temporal.clear()


def _field(line: str, name: str) -> str:
    return str(json.loads(line)[name])


async def _pending(called: Any) -> str:
    """The activity that a caller's workflow waits for."""
    described = await called.workflow.describe()
    [pending] = described.raw_description.pending_activities
    return str(pending.activity_id)
