"""Pollers of task queues as `stigma doctor` shows them: one that was killed stays for minutes."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
from temporalio.client import Client

from stigma.contracts.task_queues import TaskQueues
from stigma_cli.pollers import Poller, count_text, poller_lines
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def seen(identity: str, seconds_ago: float) -> Poller:
    return Poller(identity, NOW - timedelta(seconds=seconds_ago))


async def poll(client: Client, queue: str, identity: str) -> None:
    """Poll a queue once, as a worker that is killed soon after."""
    request = PollActivityTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), identity=identity
    )
    await client.workflow_service.poll_activity_task_queue(request)


async def test_a_doctor_tells_when_each_poller_was_last_seen(
    stigma: Stigma, env: dict[str, str], stack: Stack
) -> None:
    prefix = f"{uuid.uuid4().hex[:8]}-"
    queue = TaskQueues(prefix).ai
    client = await Client.connect(stack.temporal_address, namespace=stack.namespace)
    polls = [asyncio.create_task(poll(client, queue, name)) for name in ("7@here", "8@there")]
    own = {**env, "STIGMA_TASK_QUEUE_PREFIX": prefix}

    async def both() -> Any:
        checked = json.loads((await stigma("doctor", "-o", "json", **own)).output)
        found = next(each for each in checked["checks"] if each["name"] == f"task queue {queue}")
        return found if len(found["pollers"]) == 2 else None

    found = await eventually(both, what="both pollers are known")
    assert found["ok"]
    assert {each["identity"] for each in found["pollers"]} == {"7@here", "8@there"}
    assert all(datetime.fromisoformat(each["lastSeen"]).tzinfo for each in found["pollers"])
    for each in polls:
        each.cancel()
    shown = (await stigma("doctor", **own)).output.splitlines()
    at = next(n for n, line in enumerate(shown) if line.startswith(f"ok    task queue {queue}: "))
    assert "2 pollers, the last poll " in shown[at]
    assert {line.split(" last seen ")[0].strip() for line in shown[at + 1 : at + 3]} == {
        "7@here",
        "8@there",
    }
    assert all(line.endswith(" ago") for line in shown[at + 1 : at + 3])


def test_a_single_poller_at_work_is_counted_alone() -> None:
    assert count_text([], NOW) == "0 pollers"
    assert count_text([seen("1@a", 3)], NOW) == "1 poller, the last poll 3 s ago"
    assert count_text([seen("1@a", -2)], NOW) == "1 poller, the last poll 0 s ago"
    assert list(poller_lines([seen("1@a", 3)], NOW)) == []


def test_the_last_poll_is_late_after_more_than_a_minute() -> None:
    one = "1 poller, the last poll"
    assert count_text([seen("1@a", 45)], NOW) == f"{one} 45 s ago, and a poll may last a minute"
    assert count_text([seen("1@a", 71), seen("2@a", 90)], NOW) == (
        "2 pollers, the last poll 1 min 11 s ago, which is late: "
        "a worker with a free slot polls once a minute"
    )


def test_a_poller_that_was_killed_is_told_from_one_at_work() -> None:
    late = "2@a last seen 3 min 5 s ago; it is gone, or has no free slot"
    assert list(poller_lines([seen("2@a", 185)], NOW)) == [late]
    gone = list(poller_lines([seen("2@a", 185)], NOW, all_gone=True))
    assert gone == ["2@a last seen 3 min 5 s ago"]
    both = [seen("1@a", 60), seen("2@a", 185)]
    assert list(poller_lines(both, NOW)) == ["1@a last seen 1 min ago", late]


def test_no_more_than_ten_pollers_are_named() -> None:
    lines = list(poller_lines([seen(f"{n}@a", n) for n in range(13)], NOW))
    assert lines[0] == "0@a last seen 0 s ago"
    assert lines[9:] == ["9@a last seen 9 s ago", "and 3 more"]
