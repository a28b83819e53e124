"""Pollers of Temporal's task queues, with the time each was last seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from stigma_cli.output import as_duration, counted
from stigma_cli.temporal_connections import temporal_address, temporal_call

# Longest time between two polls of a worker with free slots: each lasts up to a minute.
_POLL_INTERVAL = timedelta(seconds=70)
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


def poller_lines(pollers: Sequence[Poller], now: datetime) -> Iterator[str]:
    """Yield a line for each poller; none for a single one at work, which is counted."""
    if len(pollers) == 1 and not _is_late(pollers[0], now):
        return
    for each in pollers[:_MAX_NAMED]:
        late = "; it is gone, or has no free slot" if _is_late(each, now) else ""
        yield f"{each.identity} last seen {_ago(each, now)}{late}"
    if (more := len(pollers) - _MAX_NAMED) > 0:
        yield f"and {more} more"


def _is_late(poller: Poller, now: datetime) -> bool:
    return now - poller.last_seen > _POLL_INTERVAL


def _ago(poller: Poller, now: datetime) -> str:
    seconds = max(round((now - poller.last_seen).total_seconds()), 0)
    return f"{as_duration(timedelta(seconds=seconds))} ago"
