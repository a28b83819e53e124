"""Gauges of the whole installation: what Temporal says, the same on every replica, or nothing."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from stigma.contracts import search_attributes
from stigma.contracts.executions import Kind
from stigma.contracts.task_queues import TaskQueues
from stigma_api.diagnosis import cluster_gauges
from stigma_api.diagnosis.cluster_gauges import AGES, ClusterGauges
from stigma_api.temporal.clock import TemporalClock
from tests.stack.faults import Fail, FaultProxy
from tests.stack.waiting import eventually

AGENT, WORKFLOW = "AgentWorkflow", "WorkflowExecutionWorkflow"


class Replica:
    """What one replica of the API shows."""

    def __init__(self, client: Client, queues: TaskQueues, **settings: Any) -> None:
        given = {"interval": timedelta(seconds=1), "stuck_after": timedelta(hours=24)}
        self.registry = CollectorRegistry()
        clock = TemporalClock(client, self.registry)
        self.gauges = ClusterGauges(client, queues, self.registry, clock, **(given | settings))

    def value(self, name: str, **labels: str) -> float | None:
        """One sample; None when it is absent."""
        return self.registry.get_sample_value(name, labels)

    def shown(self) -> dict[tuple[str, Any], float]:
        """Every sample of every gauge."""
        families = self.gauges.collect()
        return {
            (sample.name, tuple(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def queues() -> TaskQueues:
    return TaskQueues(f"{uuid.uuid4().hex[:8]}-")


async def start(
    client: Client,
    queues: TaskQueues,
    kind: str,
    *,
    waited_for: bool = True,
    late: bool = False,
    age: timedelta = timedelta(),
    input_age: timedelta | None = None,
) -> None:
    """Start an execution that no worker takes; with an age, as the newest run of an older one.

    With an `input_age` it waits for people, for as long.
    """
    now = datetime.now(UTC)
    warn = now + timedelta(hours=-1 if late else 1)
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.START_TIME, now - age),
        SearchAttributePair(search_attributes.WARN_TIME, warn),
    ]
    if waited_for:
        waiting = search_attributes.CALLBACK_WAITING
        attributes.append(SearchAttributePair(search_attributes.CALLBACK, waiting))
    if input_age is not None:
        since = SearchAttributePair(search_attributes.WAITING_SINCE, now - input_age)
        attributes.append(since)
    await client.start_workflow(
        kind,
        id=f"{kind}-{uuid.uuid4()}",
        task_queue=queues.orchestrator,
        search_attributes=TypedSearchAttributes(attributes),
    )


def by_age(replica: Replica, name: str) -> dict[str, float | None]:
    """What a gauge shows of each age."""
    return {age: replica.value(name, age_bucket=age) for age, _ in AGES}


def ages(**counts: int) -> dict[str, float | None]:
    """These numbers, and 0 of all other ages."""
    return {age: counts.get(age, 0) for age, _ in AGES}


async def fresh(replica: Replica, running: int) -> None:
    """Look until visibility, which is late, shows so many executions."""

    async def shown() -> bool:
        await replica.gauges.refresh()
        kinds = ("agent", "workflow")
        return sum(replica.value("stigma_workflow_running", kind=k) or 0 for k in kinds) == running

    await eventually(shown, what=f"{running} executions in visibility")
    await replica.gauges.refresh()  # what that look counted first may have come only during it


async def test_what_is_counted(client: Client, queues: TaskQueues) -> None:
    await start(client, queues, AGENT)
    await start(client, queues, AGENT, late=True)
    await start(client, queues, AGENT, waited_for=False)
    await start(client, queues, WORKFLOW, late=True)
    await start(client, queues, "SomethingElse")
    await start(client, TaskQueues(f"other-{uuid.uuid4().hex[:8]}-"), AGENT)
    replica = Replica(client, queues, stuck_after=timedelta(microseconds=1))
    await fresh(replica, 4)
    assert replica.value("stigma_workflow_running", kind="agent") == 3
    assert replica.value("stigma_workflow_running", kind="workflow") == 1
    assert replica.value("zigflow_agent_activity_pending") == 2
    assert replica.value("stigma_async_activity_approaching_timeout") == 2
    assert replica.value("stigma_async_activity_stuck") == 3
    assert by_age(replica, "pending_external_activities") == ages(lt_1m=3)

    async def backlog_is(count: int) -> bool:
        await replica.gauges.refresh()
        labels = {"task_queue": queues.orchestrator, "task_type": "workflow"}
        return replica.value("stigma_task_queue_backlog", **labels) == count

    await eventually(lambda: backlog_is(5), what="the backlog, which is no part of visibility")
    assert not Replica(client, queues).value("stigma_async_activity_stuck")


async def test_an_age_is_the_calls_also_after_it_continued_as_new(
    client: Client, queues: TaskQueues
) -> None:
    await start(client, queues, AGENT, age=timedelta(hours=2))
    replica = Replica(client, queues)
    await fresh(replica, running=1)
    assert by_age(replica, "pending_external_activities") == ages(lt_6h=1)


async def test_executions_that_wait_for_people_are_counted_by_how_long_they_have(
    client: Client, queues: TaskQueues
) -> None:
    young = timedelta()
    # However long they run, and whoever waits for them: it is the oldest input that counts.
    await start(client, queues, AGENT, age=timedelta(days=2), input_age=young)
    await start(client, queues, AGENT, waited_for=False, input_age=timedelta(hours=7))
    await start(client, queues, AGENT, waited_for=False, input_age=timedelta(hours=25))
    await start(client, queues, AGENT, age=timedelta(days=2))
    elsewhere = TaskQueues(f"other-{uuid.uuid4().hex[:8]}-")
    await start(client, elsewhere, AGENT, input_age=young)
    replica = Replica(client, queues)
    await fresh(replica, running=4)
    waiting = by_age(replica, "stigma_executions_waiting_for_input")
    assert waiting == ages(lt_1m=1, lt_24h=1, ge_24h=1)
    assert by_age(replica, "pending_external_activities") == ages(ge_24h=2)


async def test_where_nobody_waits_the_older_ones_are_not_counted(
    temporal_server: Any, queues: TaskQueues
) -> None:
    async with FaultProxy(temporal_server.address) as proxy:
        client = await Client.connect(proxy.address)
        replica = Replica(client, queues, interval=timedelta(milliseconds=50))
        await replica.gauges.refresh()
        counted = proxy.counts["CountWorkflowExecutions"].received
    for name in ("pending_external_activities", "stigma_executions_waiting_for_input"):
        assert by_age(replica, name) == ages()
    assert counted == len(Kind) + 5


async def test_an_age_is_in_one_bucket(
    client: Client, queues: TaskQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With borders that an execution passes while one looks."""
    borders = [("young", timedelta()), ("middle", timedelta(0, 0.4)), ("old", timedelta(hours=1))]
    monkeypatch.setattr(cluster_gauges, "AGES", tuple(borders))
    await start(client, queues, AGENT)
    replica = Replica(client, queues)

    async def seen_as() -> dict[str, float | None]:
        await replica.gauges.refresh()
        return {
            age: replica.value("pending_external_activities", age_bucket=age) for age, _ in borders
        }

    async def in_bucket(age: str) -> bool:
        return (await seen_as())[age] == 1

    await eventually(lambda: in_bucket("middle"), what="the age of the middle bucket")
    assert await seen_as() == {"young": 0, "middle": 1, "old": 0}


async def test_replicas_and_restarts_show_the_same(client: Client, queues: TaskQueues) -> None:
    for _ in range(3):
        await start(client, queues, AGENT)
    first, second = Replica(client, queues), Replica(client, queues)
    await fresh(first, 3)

    async def agree() -> bool:
        # The backlog comes on its own time.
        await asyncio.gather(first.gauges.refresh(), second.gauges.refresh())
        return first.shown() == second.shown()

    await eventually(agree, what=lambda: f"the same: {first.shown()}, {second.shown()}")
    assert first.shown()


async def test_there_is_nothing_rather_than_something_old(
    temporal_server: Any, queues: TaskQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultProxy(temporal_server.address)
    await proxy.start()
    try:
        client = await Client.connect(proxy.address)
        replica = Replica(client, queues, interval=timedelta(milliseconds=50))
        assert replica.shown() == {}
        limited = Fail(grpc.StatusCode.RESOURCE_EXHAUSTED)
        proxy.inject("CountWorkflowExecutions", limited, times=2)
        await replica.gauges.refresh()
        assert replica.shown(), "being limited for a while is no reason either"
        monkeypatch.setattr(cluster_gauges, "_RPC_TIMEOUT", timedelta(seconds=0.3))
        await proxy.cut()
        await replica.gauges.refresh()
        assert replica.shown(), "one failed look is no reason to go blind"
        shown_seconds = replica.gauges._shown_seconds
        monkeypatch.setattr(replica.gauges, "_shown_seconds", 0.1)
        await eventually(lambda: not replica.shown(), what="the gauges' end")
        refreshes = "stigma_cluster_metrics_refreshes_total"
        assert replica.value(refreshes, outcome="error") == 1
        monkeypatch.setattr(replica.gauges, "_shown_seconds", shown_seconds)
        await proxy.start()

        async def back() -> bool:
            await replica.gauges.refresh()
            return bool(replica.shown())

        await eventually(back, what="the gauges' return")
    finally:
        await proxy.cut()


async def test_a_bug_in_a_gauge_ends_the_gauges_alone(
    client: Client, queues: TaskQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> int:
        raise KeyError("a secret")

    monkeypatch.setattr(ClusterGauges, "_backlog", broken)
    with capture_logs() as events:
        replica = Replica(client, queues, interval=timedelta(milliseconds=10))
        keeping = asyncio.create_task(replica.gauges.keep_fresh())

        def looked_again() -> bool:
            failed = replica.value("stigma_cluster_metrics_refreshes_total", outcome="error")
            return keeping.done() or bool(failed and failed >= 2)

        await eventually(looked_again, what="the next look")
    assert not keeping.done()
    assert replica.shown() == {}
    missing = {"event": "cluster_metrics_missing", "log_level": "warning", "reason": "KeyError"}
    assert events == [missing]
    monkeypatch.undo()
    await eventually(replica.shown, what="the gauges")
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


def test_every_series_is_named_before_the_first_look(client: Client, queues: TaskQueues) -> None:
    described = {family.name for family in Replica(client, queues).gauges.describe()}
    assert described == {
        "stigma_workflow_running",
        "pending_external_activities",
        "zigflow_agent_activity_pending",
        "stigma_async_activity_stuck",
        "stigma_async_activity_approaching_timeout",
        "stigma_executions_waiting_for_input",
        "stigma_task_queue_backlog",
    }
