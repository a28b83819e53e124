"""The developer guide's troubleshooting, entry by entry; *never completes* is with the waiting."""

from __future__ import annotations

import uuid

import grpc.aio
import pytest

from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import failure_of
from tests.rehearsals.rehearsal_environment import RehearsalEnvironment

GUIDE = "developer-guide.md"


async def test_a_token_that_was_used_already(rehearsal: RehearsalEnvironment) -> None:
    site = rehearsal.installation
    parked = await site.park()
    token = await site.tokens.of(parked.id)
    request = uuid.uuid4().hex
    started = await site.start(
        agent_id="echo", message="first", callback_token=token, request_id=request
    )
    outcome = await parked.result()
    again = uuid.uuid4().hex
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await site.start(agent_id="echo", message="?", callback_token=token, request_id=again)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert b"CALLER_GONE" in dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    assert not await site.exists(site.execution_id(again))
    async with rehearsal.operator(GUIDE, "a token used for a second call") as operator:
        shown = await operator.sees("token-already-used", again, started.id)
        [line] = [line for line in shown.splitlines() if again in line]
        assert "failed_precondition" in line
        # A repeated start is no second use.
        repeated = await site.start(
            agent_id="echo", message="first", callback_token=token, request_id=request
        )
        assert repeated.id == started.id
        # The cure: its own activity's own token.
        other = await site.park()
        await site.start(
            agent_id="echo", message="second", callback_token=await site.tokens.of(other.id)
        )
        assert (await other.result()).status.output.text == "second"
        assert outcome.status.output.text == "first"
        operator.cured()


async def test_a_call_that_times_out(rehearsal: RehearsalEnvironment) -> None:
    site = rehearsal.installation
    message = uuid.uuid4().hex
    # Its model is called before: it is late, not its worker.
    called = await site.call(PythonCaller, Job("held", message, agent_timeout=5))
    await rehearsal.gate.held(message)
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_TIMEOUT"
    async with rehearsal.operator(GUIDE, "a model slower than the agent's 5 s") as operator:
        await operator.sees("times-out", called.execution_id)
        timeline = await operator.types(f"stigma execution timeline {called.execution_id}")
        assert "model call" in timeline
        assert "TIMED_OUT" in timeline
        got = await operator.types(f"stigma execution get {called.execution_id}")
        assert "deadline" in got
        # The cure: a longer timeout of the call.
        call = await site.call(PythonCaller, Job("held", message, agent_timeout=60))
        (await rehearsal.gate.held(message, nth=2)).answer("in time")
        assert await call.result() == "in time"
        operator.cured()


async def test_a_call_that_completes_with_an_error(rehearsal: RehearsalEnvironment) -> None:
    site = rehearsal.installation
    called = await site.call(PythonCaller, Job("broken", "x"))
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_FAILED"
    async with rehearsal.operator(GUIDE, "an agent that its provider refuses") as operator:
        await operator.sees("completes-with-error", called.execution_id)
        got = await operator.types(f"stigma execution get {called.execution_id}")
        assert "INVALID_REQUEST: no such parameter (at model_call 2)" in got
        # The cure: another agent, or another version of it.
        call = await site.call(PythonCaller, Job("echo", "x"))
        assert await call.result() == "x"
        operator.cured()


async def test_a_call_that_the_api_refuses(rehearsal: RehearsalEnvironment) -> None:
    called = await rehearsal.installation.call(PythonCaller, Job("nobody", "x"))
    [details] = (await failure_of(called)).details
    assert (details["reason"], details["step"]) == ("NOT_FOUND", "start_agent")
    assert not await rehearsal.installation.exists(called.execution_id)
    async with rehearsal.operator(GUIDE, "a call of an agent that is not there") as operator:
        await operator.follow("completes-with-error")
        assert "NOT_FOUND" in await operator.types("grep call_refused .stigma/stigma_api.log")
        operator.cured()
