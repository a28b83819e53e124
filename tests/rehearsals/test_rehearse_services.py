"""Services that are away, lack something, have too much to do, or are slow: a page an alert."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from stigma.contracts import limits
from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import Called, failure_of
from tests.rehearsals.rehearsal_environment import RehearsalEnvironment
from tests.stack.faketime import other_clock
from tests.stack.faults import EVERY_METHOD, Delay, Fail
from tests.stack.waiting import eventually

DOWN = "runbooks/service-down.md"
NOT_READY = "runbooks/service-not-ready.md"
BACKLOG = "runbooks/backlog-grows.md"
SLOW = "runbooks/deliveries-slow.md"
CLOCK = "runbooks/clock-skew.md"
MISSING = "runbooks/cluster-metrics-missing.md"
LATE = "runbooks/calls-approach-timeout.md"

# The rehearsals before its own take half of it.
LATE_SECONDS = 80.0
# Where they take longer, so does this one.
_ON_A_SLOW_MACHINE = 160.0


@pytest.fixture(scope="module", autouse=True)
async def late_call(rehearsal: RehearsalEnvironment) -> Called:
    """A call that comes near its deadline while other pages are rehearsed."""
    return await _call(rehearsal, LATE_SECONDS)


async def test_one_service_is_killed_and_another_misconfigured(
    rehearsal: RehearsalEnvironment,
) -> None:
    wrong = {"STIGMA_MAX_CONCURRENT_ACTIVITIES": "many"}
    async with rehearsal.operator(DOWN, "a service killed, another misconfigured") as operator:
        async with (
            rehearsal.misconfigured("ai_worker", **wrong) as ai_worker,
            rehearsal.killed("stigma_api"),
        ):
            assert await ai_worker.ended(timedelta(seconds=60)) == 2
            shown = await operator.follow("answers")
            silent = {line.split()[0] for line in shown.splitlines() if "does not answer" in line}
            assert silent == {"stigma_api", "ai_worker"}
            assert "ai_worker: STIGMA_MAX_CONCURRENT_ACTIVITIES: Input should be" in shown
            await operator.is_told("look", "cannot reach Stigma's API", "1 poller, the last poll ")
            # The cure: the setting is corrected, and both are started.
        await operator.sees("verify", "none stuck")
        operator.cured()


async def test_the_clock_of_the_api_is_ahead(rehearsal: RehearsalEnvironment) -> None:
    async with rehearsal.operator(CLOCK, "the API's clock a minute ahead") as operator:
        async with rehearsal.misconfigured("stigma_api", **other_clock(60)) as api:
            await api.wait_ready()
            await eventually(lambda: _is_asked(rehearsal), what="an execution is started")
            await eventually(lambda: api.log.events("clock_skew"), what="the clocks are compared")
            await operator.sees("look", "stigma_clock_skew_seconds ", '"clock_skew"')
            # The cure: the clock is set, here by a start without the other one.
        await operator.sees("verify", "stigma_clock_skew_seconds 0.0")
        operator.cured()


async def _is_asked(rehearsal: RehearsalEnvironment) -> bool:
    try:
        return bool((await rehearsal.installation.ask("echo", "what time is it?")).id)
    except grpc.aio.AioRpcError:
        return False  # the channel has not found the API again


async def test_one_service_lacks_temporal_and_another_a_search_attribute(
    rehearsal: RehearsalEnvironment,
) -> None:
    temporal = rehearsal.temporal_of["stigma_orchestrator"]
    fault = "Temporal cut off, a search attribute removed"
    async with rehearsal.operator(NOT_READY, fault) as operator:
        await operator.prepares("temporal operator search-attribute remove --name StigmaSession -y")
        await temporal.cut()
        try:
            shown = await operator.sees(
                "look", "lacks search attributes StigmaSession", '"temporal": {"ready": false'
            )
            assert [_says_ready(line) for line in shown.splitlines()] == [False, False, True, True]
            # The cures: the attribute is registered, and Temporal is there again.
            assert "StigmaSession registered" in await operator.follow("setup")
        finally:
            await temporal.start()
        shown = await operator.sees("verify")
        assert [_says_ready(line) for line in shown.splitlines()] == [True] * 4
        operator.cured()


async def test_deliveries_are_slow(rehearsal: RehearsalEnvironment) -> None:
    async with rehearsal.operator(SLOW, "a slow network to Temporal") as operator:
        fast, everything = _deliveries(await operator.follow("verify"))
        async with _slow_network(rehearsal):
            await _deliver_two(rehearsal)
            # The caller goes on before the orchestrator has counted.
            slow = (f'{{le="0.5"}} {fast}\n', f'{{le="+Inf"}} {everything + 2}\n')
            await operator.sees("look", *slow, "SERVING")
            assert _deliveries(await operator.follow("verify")) == (fast, everything + 2)
            # The cure: the network is what it was.

        async def both_go_up() -> bool:
            fast, everything = _deliveries(await operator.follow("verify"))
            await _deliver_two(rehearsal)
            after = _deliveries(await operator.follow("verify"))
            return after == (fast + 2, everything + 2)

        await eventually(both_go_up, what="deliveries that are fast enough")
        operator.cured()


async def test_the_api_may_not_count(rehearsal: RehearsalEnvironment) -> None:
    refused = Fail(grpc.StatusCode.PERMISSION_DENIED, "it may not list or count workflows")
    temporal = rehearsal.temporal_of["stigma_api"]
    temporal.inject("CountWorkflowExecutions", refused, times=None)
    try:
        await rehearsal.stack.restart("stigma_api")
        async with rehearsal.operator(MISSING, "an API that may not count workflows") as operator:
            shown = await operator.sees("look", '"reason": "PERMISSION_DENIED"')
            assert 'outcome="success"} 0.0' in shown
            # The cure: it may.
            temporal.clear()
            await operator.sees("verify", 'stigma_workflow_running{kind="agent"}')
            operator.cured()
    finally:
        temporal.clear()


async def test_workers_have_no_room(rehearsal: RehearsalEnvironment) -> None:
    site = rehearsal.installation
    narrow = {"STIGMA_MAX_CONCURRENT_ACTIVITIES": "1"}
    async with rehearsal.operator(BACKLOG, "an ai_worker with room for one call") as operator:
        async with rehearsal.misconfigured("ai_worker", **narrow) as ai_worker:
            await ai_worker.wait_ready()
            # Whichever is taken: this one, or one that the worker had before.
            taken = await site.call(PythonCaller, Job("held", uuid.uuid4().hex))
            await eventually(
                lambda: any(call.waits for call in rehearsal.gate.calls("")), what="a model call"
            )
            waiting = [await site.call(PythonCaller, Job("echo", "x")) for _ in range(3)]

            async def none_has_room() -> bool:
                shown = await operator.is_told("look", "held@1: BACKLOG", "echo@1: BACKLOG")
                return _backlog(shown) > 0

            await eventually(none_has_room, what="a backlog in the queue")
            # The cure: more room.
        assert [await each.result() for each in waiting] == ["x"] * len(waiting)

        async def is_over() -> bool:
            # Temporal's count is approximate, and late.
            return _backlog(await operator.sees("verify", "none stuck")) == 0

        await eventually(is_over, what="no backlog")
        operator.cured()
    await site.cancel(taken.execution_id)
    await site.told(taken.execution_id)


# The last: the call was begun first, and what is left of its time must do for some commands.
@pytest.mark.timeout(360)
async def test_a_call_comes_near_its_deadline(
    rehearsal: RehearsalEnvironment, late_call: Called
) -> None:
    called = late_call
    if await _is_late(called):
        called = await _call(rehearsal, _ON_A_SLOW_MACHINE)
    await eventually(
        lambda: _is_alerted(rehearsal),
        within=timedelta(seconds=_ON_A_SLOW_MACHINE),
        what="a call that is late",
    )
    async with rehearsal.operator(LATE, "a model that takes too long") as operator:
        await operator.knows(ID=called.execution_id)
        await operator.sees("look", called.execution_id)
        # The cure: the answer is not wanted any more.
        await operator.follow("cancel")
        assert (await failure_of(called)).type == "AGENT_EXECUTION_CANCELLED"
        assert "model call 1, gate:held" in await operator.follow("timeline")
        await operator.sees("verify", "stigma_async_activity_approaching_timeout 0.0")
        operator.cured()


async def _call(rehearsal: RehearsalEnvironment, seconds: float) -> Called:
    """Call an agent that is given so much time, and needs more."""
    return await rehearsal.call_held(uuid.uuid4().hex, agent_timeout=seconds)


async def _is_late(called: Called) -> bool:
    """Whether it is about to end, or has: too late to be looked at."""
    age = datetime.now(UTC) - (await called.workflow.describe()).start_time
    return age > timedelta(seconds=LATE_SECONDS) * limits.WARN_AFTER


async def _is_alerted(rehearsal: RehearsalEnvironment) -> bool:
    """Whether it is as the alert's rule says."""
    _, page = await rehearsal.stack.process("stigma_api").admin("/metrics")
    return "\nstigma_async_activity_approaching_timeout 1.0\n" in page


@asynccontextmanager
async def _slow_network(rehearsal: RehearsalEnvironment) -> AsyncIterator[None]:
    network = rehearsal.temporal_of["stigma_orchestrator"]
    network.inject(EVERY_METHOD, Delay(timedelta(seconds=0.6)), times=None)
    try:
        yield
    finally:
        network.clear()


async def _deliver_two(rehearsal: RehearsalEnvironment) -> None:
    """Have two outcomes delivered."""
    site = rehearsal.installation
    calls = [await site.call(PythonCaller, Job("echo", "x")) for _ in range(2)]
    await asyncio.gather(*(each.result() for each in calls))


def _says_ready(line: str) -> bool:
    """What one service's /readyz says."""
    assert line.startswith(('{"ready": true', '{"ready": false')), line
    return line.startswith('{"ready": true')


def _backlog(shown: str) -> int:
    """How many activities wait in the first queue shown."""
    row = next(line for line in shown.splitlines() if line.startswith("  UNVERSIONED  activity"))
    return int(row.split()[2])


def _deliveries(shown: str) -> tuple[float, float]:
    """How many deliveries took half a second at most, and how many there were."""
    fast, everything = (float(line.rpartition(" ")[2]) for line in shown.splitlines())
    return fast, everything
