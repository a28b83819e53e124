"""Gauges of the whole installation, read from Temporal: right after a restart, on every replica.

Each replica of the API asks Temporal the same and shows the same numbers, so a query takes their
maximum: `max without (instance, pod) (…)`. When Temporal cannot be asked the gauges disappear
after a while, for an old number looks like a good one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

import structlog
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import search_attributes
from stigma.contracts.executions import Kind
from stigma.contracts.task_queues import TaskQueues
from stigma_api.diagnosis.cluster_snapshot import ClusterSnapshot
from stigma_api.temporal.clock import TemporalClock
from stigma_api.temporal.visibility import quoted

AGES: tuple[tuple[str, timedelta], ...] = (
    ("lt_1m", timedelta()),
    ("lt_10m", timedelta(minutes=1)),
    ("lt_1h", timedelta(minutes=10)),
    ("lt_6h", timedelta(hours=1)),
    ("lt_24h", timedelta(hours=6)),
    ("ge_24h", timedelta(hours=24)),
)
"""Names of the age buckets, each with the age it begins at."""

_RPC_TIMEOUT = timedelta(seconds=3)
_REFRESH_TIMEOUT = timedelta(seconds=15)
# Pauses between counts: by default Temporal counts ten times a second, for all clients together.
_MAX_PAUSE = timedelta(milliseconds=250)
_PAUSES_AN_INTERVAL = 60
_RETRY_WAITS = (timedelta(seconds=1), timedelta(seconds=2))
_SHOWN_INTERVALS = 4
_MIN_SHOWN = timedelta(seconds=30)


class ClusterGauges(Collector):
    """Keeps the gauges fresh, and hands them to Prometheus.

    Args:
        client: of the namespace that executions live in.
        queues: of this installation; another one in the same namespace is not counted.
        registry: shows the gauges.
        clock: ages are counted by.
        interval: between two refreshes; each is some 25 cheap calls at most, most of them spread.
        stuck_after: how long a caller waits before its call counts as stuck.
    """

    def __init__(
        self,
        client: Client,
        queues: TaskQueues,
        registry: CollectorRegistry,
        clock: TemporalClock,
        *,
        interval: timedelta,
        stuck_after: timedelta,
    ) -> None:
        self._client = client
        self._queues = queues
        self._clock = clock
        self._interval = interval
        self._pause = min(interval / _PAUSES_AN_INTERVAL, _MAX_PAUSE)
        self._stuck_after = stuck_after
        self._shown_seconds = max(interval * _SHOWN_INTERVALS, _MIN_SHOWN).total_seconds()
        self._snapshot: ClusterSnapshot | None = None
        self._failing = ""
        self._refreshes = Counter(
            "stigma_cluster_metrics_refreshes_total",
            "Looks at Temporal for the gauges of the whole installation.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("success", "error"):
            self._refreshes.labels(outcome)
        self._log = structlog.get_logger()
        registry.register(self)

    async def keep_fresh(self) -> None:
        """Refresh the gauges for ever."""
        while True:
            await self.refresh()
            # Jitter, so that replicas do not ask in step.
            await asyncio.sleep(self._interval.total_seconds() * random.uniform(0.9, 1.1))  # noqa: S311

    async def refresh(self) -> None:
        """Refresh the gauges once, within 15 s; a failure is counted, and logged once."""
        try:
            async with asyncio.timeout(_REFRESH_TIMEOUT.total_seconds()):
                self._snapshot = await self._count_all()
        except Exception as error:  # noqa: BLE001 - a bug in a gauge must not take the API down
            reason = _reason(error)
            self._refreshes.labels("error").inc()
            if reason != self._failing:
                self._log.warning("cluster_metrics_missing", reason=reason)
            self._failing = reason
        else:
            self._refreshes.labels("success").inc()
            self._failing = ""

    def describe(self) -> Iterable[Metric]:
        """Return every gauge there will be: Prometheus registers names before the first refresh."""
        return list(_empty_snapshot(self._queues).gauges())

    def collect(self) -> Iterable[Metric]:
        """Return the gauges; none when the last refresh is too long ago."""
        snapshot = self._snapshot
        if snapshot is None or time.monotonic() - snapshot.taken > self._shown_seconds:
            return []
        return list(snapshot.gauges())

    async def _count_all(self) -> ClusterSnapshot:
        now = self._clock.now()
        waiting = f"{search_attributes.CALLBACK.name} = '{search_attributes.CALLBACK_WAITING}'"
        agents = f"WorkflowType = '{Kind.AGENT.workflow_type}'"
        return ClusterSnapshot(
            running={
                kind: await self._open(f"WorkflowType = '{kind.workflow_type}'") for kind in Kind
            },
            pending=await self._by_age(waiting, search_attributes.START_TIME, now),
            agents_pending=await self._open(waiting, agents),
            stuck=await self._open(
                waiting, _by(search_attributes.START_TIME, now - self._stuck_after)
            ),
            approaching=await self._open(_by(search_attributes.WARN_TIME, now)),
            waiting_for_input=await self._by_age(
                f"{search_attributes.WAITING_SINCE.name} IS NOT NULL",
                search_attributes.WAITING_SINCE,
                now,
            ),
            backlog={
                (queue, name): await self._backlog(queue, kind)
                for queue, kinds in _task_types(self._queues).items()
                for name, kind in kinds.items()
            },
            taken=time.monotonic(),
        )

    async def _by_age(
        self, condition: str, since: SearchAttributeKey[datetime], now: datetime
    ) -> dict[str, int]:
        """Return how many open executions meet a condition, by age bucket.

        Args:
            condition: of all of them.
            since: the time that ages are counted from.
            now: by Temporal's clock.
        """
        older: list[int] = []
        for _, age in AGES:
            if older and not older[-1]:
                break  # none of this age, so none that is older
            conditions = [condition, _by(since, now - age)] if age else [condition]
            older.append(await self._open(*conditions))
        older += [0] * (len(AGES) + 1 - len(older))
        # The counts are of different moments: a difference may come out below zero.
        return {
            name: max(0, at_least - next_older)
            for (name, _), (at_least, next_older) in zip(AGES, pairwise(older), strict=True)
        }

    async def _open(self, *conditions: str) -> int:
        """Return how many open executions of this installation meet these conditions."""
        types = ", ".join(f"'{kind.workflow_type}'" for kind in Kind)
        always = (
            f"TaskQueue = {quoted(self._queues.orchestrator)}",
            "CloseTime IS NULL",
            f"WorkflowType IN ({types})",
        )
        request = CountWorkflowExecutionsRequest(
            namespace=self._client.namespace, query=" AND ".join([*always, *conditions])
        )
        for wait in _RETRY_WAITS:
            try:
                return await self._count(request)
            except RPCError as error:
                if error.status != RPCStatusCode.RESOURCE_EXHAUSTED:
                    raise
            await asyncio.sleep(wait.total_seconds())
        return await self._count(request)

    async def _count(self, request: CountWorkflowExecutionsRequest) -> int:
        await asyncio.sleep(self._pause.total_seconds())
        reply = await self._client.workflow_service.count_workflow_executions(
            request, retry=False, timeout=_RPC_TIMEOUT
        )
        return reply.count

    async def _backlog(self, queue: str, kind: TaskQueueType.ValueType) -> int:
        reply = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=queue),
                task_queue_type=kind,
                report_stats=True,
            ),
            retry=False,
            timeout=_RPC_TIMEOUT,
        )
        return reply.stats.approximate_backlog_count


def _reason(error: Exception) -> str:
    match error:
        case RPCError():
            return error.status.name
        case TimeoutError():
            return "TIMEOUT"
        case _:
            return type(error).__name__  # its text is anybody's


def _task_types(queues: TaskQueues) -> dict[str, dict[str, TaskQueueType.ValueType]]:
    """Return the kinds of tasks of every queue that a worker of ours polls."""
    workflow = {"workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW}
    activity = {"activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY}
    return {
        queues.engine: workflow | activity,
        queues.orchestrator: workflow | activity,
        queues.ai: activity,
        queues.watch: activity,
    }


def _empty_snapshot(queues: TaskQueues) -> ClusterSnapshot:
    """Return the numbers of an installation in which nothing was ever started."""
    return ClusterSnapshot(
        running=dict.fromkeys(Kind, 0),
        pending={name: 0 for name, _ in AGES},
        agents_pending=0,
        stuck=0,
        approaching=0,
        waiting_for_input={name: 0 for name, _ in AGES},
        backlog={
            (queue, name): 0 for queue, kinds in _task_types(queues).items() for name in kinds
        },
        taken=0.0,
    )


def _by(time: SearchAttributeKey[datetime], latest: datetime) -> str:
    return f"{time.name} <= {quoted(latest.isoformat())}"
