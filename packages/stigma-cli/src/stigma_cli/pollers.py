"""Workers of Temporal's task queues: when each polled last, and whether any can be alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    ListWorkersRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from stigma_cli.output import as_duration, counted
from stigma_cli.temporal_connections import temporal_address, temporal_call

# Longest time between two polls of a worker with free slots: each lasts up to a minute.
_POLL_INTERVAL = timedelta(seconds=70)
# Age of the last poll and heartbeat after which no worker is there: both come once a minute, and
# may be some seconds late.
_GONE = timedelta(seconds=90)
# Age of a poll up to which nothing has to be explained.
_FRESH = timedelta(seconds=15)
# Pollers named of a queue: those that were seen last.
_MAX_NAMED = 10


@dataclass(frozen=True)
class Poller:
    """A worker that has polled a task queue."""

    identity: str
    """By default process id and host, "41@host"."""
    last_seen: datetime


@dataclass(frozen=True)
class QueueState:
    """The workers of a task queue, at one time.

    Args:
        pollers: for the kind of tasks that fewest poll for, the last one seen first.
        has_worker: False: none can be alive; None: that is not known.
        now: that time, as Temporal has it.
    """

    pollers: Sequence[Poller]
    has_worker: bool | None
    now: datetime

    @property
    def is_served(self) -> bool:
        """False where nobody takes the queue's tasks."""
        return bool(self.pollers) and self.has_worker is not False

    @property
    def text(self) -> str:
        """The number of pollers, how long ago the last one was seen, and what that means."""
        if not self.pollers:
            full = ": its workers are there, and have had no free slot for minutes"
            return f"0 pollers{full if self.has_worker else ''}"
        if self.has_worker is False:
            last = _ago(self.pollers[0], self.now)
            count = counted(len(self.pollers), "poller")
            return f"{count}, the last poll {last}: no worker is there any more"
        return count_text(self.pollers, self.now)


async def find_queue_state(
    client: Client, queue: str, kinds: Sequence[TaskQueueType.ValueType], now: datetime
) -> QueueState:
    """Return who works for a task queue.

    A worker without a free slot does not poll, but it sends heartbeats. Where Temporal keeps none,
    the polls for workflow tasks tell: those free their slots within seconds.

    Args:
        client: of the namespace.
        queue: its name.
        kinds: of the tasks that its workers take.
        now: as Temporal has it.

    Raises:
        CliError: Temporal does not tell.
    """
    by_kind = {kind: await find_pollers(client, queue, kind) for kind in kinds}
    fewest = min(by_kind.values(), key=len)
    polled = [pollers[0].last_seen for pollers in by_kind.values() if pollers]
    if fewest and now - max(polled) <= _GONE:
        return QueueState(fewest, True, now)
    has_worker = await _has_heartbeats(client, queue, now)
    if has_worker is None and TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW in by_kind and fewest:
        has_worker = False
    return QueueState(fewest, has_worker, now)


async def _has_heartbeats(client: Client, queue: str, now: datetime) -> bool | None:
    """Return whether a worker of a queue sends heartbeats; None where Temporal does not tell.

    Stigma's workers send them wherever Temporal takes them.
    """
    service, namespace = client.workflow_service, client.namespace
    since = (now - _GONE).isoformat()
    alive = f"TaskQueue = '{queue}' AND HeartbeatTime > '{since}'"
    try:
        described = await service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
        if not described.namespace_info.capabilities.worker_heartbeats:
            return None
        request = ListWorkersRequest(namespace=namespace, query=alive, page_size=1)
        return bool((await service.list_workers(request)).workers_info)
    except RPCError:  # an older Temporal, or one that shows them to nobody
        return None


async def find_pollers(
    client: Client, queue: str, kind: TaskQueueType.ValueType
) -> Sequence[Poller]:
    """Return the pollers of a queue, the last one seen first.

    Temporal forgets one five minutes after its last poll: a worker that was killed is among them.

    Raises:
        CliError: Temporal does not tell.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    described = await temporal_call(
        client.workflow_service.describe_task_queue(request), temporal_address()
    )
    found = [
        Poller(each.identity, each.last_access_time.ToDatetime(UTC)) for each in described.pollers
    ]
    return sorted(found, key=lambda each: each.last_seen, reverse=True)


def count_text(pollers: Sequence[Poller], now: datetime) -> str:
    """Return the number of pollers, and how long ago the last one was seen."""
    if not pollers:
        return "0 pollers"
    text = f"{counted(len(pollers), 'poller')}, the last poll {_ago(pollers[0], now)}"
    if _is_late(pollers[0], now):
        return f"{text}, which is late: a worker with a free slot polls once a minute"
    is_fresh = now - pollers[0].last_seen <= _FRESH
    return text if is_fresh else f"{text}, and a poll may last a minute"


def poller_lines(
    pollers: Sequence[Poller], now: datetime, *, all_gone: bool = False
) -> Iterator[str]:
    """Yield a line for each poller; none for a single one at work, which is counted.

    Args:
        pollers: the last one seen first.
        now: as Temporal has it.
        all_gone: it is known that none of them is there any more.
    """
    if len(pollers) == 1 and not _is_late(pollers[0], now):
        return
    for each in pollers[:_MAX_NAMED]:
        late = "" if all_gone or not _is_late(each, now) else "; it is gone, or has no free slot"
        yield f"{each.identity} last seen {_ago(each, now)}{late}"
    if (more := len(pollers) - _MAX_NAMED) > 0:
        yield f"and {more} more"


def _is_late(poller: Poller, now: datetime) -> bool:
    return now - poller.last_seen > _POLL_INTERVAL


def _ago(poller: Poller, now: datetime) -> str:
    seconds = max(round((now - poller.last_seen).total_seconds()), 0)
    return f"{as_duration(timedelta(seconds=seconds))} ago"
