"""Calls that hang: stuck pending, the page of its alert, and the guide's *never completes*."""

from __future__ import annotations

import re
import uuid

from stigma.agent.v1.agent_pb2 import FAILURE_REASON_CANCELLED
from stigma.contracts.activities import WATCH_CALLER
from stigma.contracts.executions import phase_name
from tests.integration.executions import Called
from tests.rehearsals.rehearsal_environment import RehearsalEnvironment
from tests.stack.waiting import eventually

RUNBOOK = "runbooks/stuck-pending.md"
ALERT = "runbooks/calls-stuck.md"
GUIDE = "developer-guide.md"


async def test_the_provider_limits_calls(rehearsal: RehearsalEnvironment) -> None:
    message = uuid.uuid4().hex
    called = await rehearsal.call_held(message)
    (await rehearsal.gate.held(message)).refuse(429, "rate_limit_exceeded")
    retried = await rehearsal.gate.held(message, nth=2)
    async with rehearsal.operator(RUNBOOK, "a provider that limits calls") as operator:
        shown = await operator.is_told("find", _found(called, "PROVIDER_LIMITED"))
        await operator.knows(ID=called.execution_id)
        assert "RATE_LIMITED" in await operator.follow("look")
        await operator.types(_command(shown, called))
        # The cure: the provider answers again.
        retried.answer("there is room again")
        assert await called.result() == "there is room again"
        await operator.sees("verify", "COMPLETED")
        operator.cured()


async def test_nobody_waits_any_more(rehearsal: RehearsalEnvironment, early_call: Called) -> None:
    called = early_call
    await _looked_after(rehearsal, called)
    await called.workflow.terminate("a test wants it")
    async with rehearsal.operator(RUNBOOK, "a caller that was terminated") as operator:
        shown = await operator.is_told("find", _found(called, "CALLER_GONE"))
        assert _command(shown, called) == f"stigma execution cancel {called.execution_id}"
        await operator.knows(ID=called.execution_id)
        await operator.follow("cancel")
        execution = await rehearsal.installation.ended(called.execution_id)
        assert phase_name(execution) == "CANCELLED"
        assert execution.status.failure.reason == FAILURE_REASON_CANCELLED
        await operator.sees("verify", "CANCELLED")
        operator.cured()


async def test_no_worker_calls_models(rehearsal: RehearsalEnvironment) -> None:
    """Three pages lead to the same cure."""
    message = uuid.uuid4().hex
    called = await rehearsal.call_held(message)
    fault = "ai_worker stopped while a call waits"
    found = _found(called, "NO_WORKER")
    async with (
        rehearsal.operator(RUNBOOK, fault) as operator,
        rehearsal.operator(ALERT, fault) as alerted,
        rehearsal.operator(GUIDE, fault) as caller,
        rehearsal.without("ai_worker"),
    ):
        shown = await operator.is_told("find", found)
        assert "no worker polls task queue stigma-ai: start ai_worker" in shown
        await operator.knows(ID=called.execution_id)
        assert "RUNNING" in await operator.follow("look")
        assert called.execution_id in await operator.follow("look-in-temporal")
        await operator.types(_command(shown, called))
        await caller.is_told("never-completes", found)
        await alerted.is_told("look", found)
        # The cure: the service that it names is started.
        await rehearsal.stack.start("ai_worker")
        (await rehearsal.gate.held(message, nth=2)).answer("at last")
        assert await called.result() == "at last"
        await operator.sees("verify", "COMPLETED")
        await caller.sees("never-completes", "none stuck")
        await alerted.sees("look", "none stuck")
        for each in (operator, alerted, caller):
            each.cured()


async def _looked_after(rehearsal: RehearsalEnvironment, called: Called) -> None:
    """Wait for the first look at its caller: the next would stop the call before we do."""
    handle = rehearsal.installation.client.get_workflow_handle(called.execution_id)

    async def looked() -> bool:
        own = (await handle.describe()).raw_description.pending_activities
        [caller] = (await called.workflow.describe()).raw_description.pending_activities
        return any(
            each.activity_type.name == WATCH_CALLER
            and each.HasField("last_started_time")
            and caller.last_heartbeat_time.ToDatetime() >= each.last_started_time.ToDatetime()
            for each in own
        )

    await eventually(looked, what="the first look at the caller")


def _found(called: Called, reason: str) -> str:
    """What `stigma doctor` says of a call."""
    return f"{called.execution_id} held@1: {reason}, started "


def _command(shown: str, called: Called) -> str:
    """The command that `stigma doctor` prints below what it says of a call."""
    match = re.search(rf"^{called.execution_id} .*\n.*\n  \$ (.*)$", shown, re.MULTILINE)
    assert match, shown
    return match[1]
