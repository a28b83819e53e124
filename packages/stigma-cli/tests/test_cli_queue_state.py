"""Task queues that nobody can serve any more, as `stigma doctor` finds them.

Polls and heartbeats are sent by hand: a worker of the SDK sends heartbeats once a minute.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RecordWorkerHeartbeatRequest,
)
from temporalio.client import Client

from stigma_cli.pollers import QueueState, find_pollers, find_queue_state
from tests.stack.waiting import eventually

WORKFLOWS = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITIES = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
RUNNING = WorkerStatus.WORKER_STATUS_RUNNING
SHUTDOWN = WorkerStatus.WORKER_STATUS_SHUTDOWN
BOTH = (WORKFLOWS, ACTIVITIES)


@pytest.fixture
async def client(temporal_server: object, monkeypatch: pytest.MonkeyPatch) -> Client:
    address = str(getattr(temporal_server, "address"))  # noqa: B009
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    return await Client.connect(address)


async def polled(client: Client, kinds: Sequence[TaskQueueType.ValueType]) -> str:
    """Return a new queue that was polled for tasks of some kinds, by a worker that is gone."""
    queue, service = f"q-{uuid.uuid4().hex[:8]}", client.workflow_service
    name = TaskQueue(name=queue)
    polls: list[asyncio.Task[object]] = []
    if WORKFLOWS in kinds:
        workflows = PollWorkflowTaskQueueRequest(namespace="default", task_queue=name, identity="w")
        polls.append(asyncio.create_task(service.poll_workflow_task_queue(workflows)))
    if ACTIVITIES in kinds:
        activities = PollActivityTaskQueueRequest(
            namespace="default", task_queue=name, identity="w"
        )
        polls.append(asyncio.create_task(service.poll_activity_task_queue(activities)))

    async def known() -> bool:
        return all([await find_pollers(client, queue, kind) for kind in kinds])

    await eventually(known, what="the polls are known")
    for poll in polls:
        poll.cancel()
    return queue


async def send_heartbeat(
    client: Client, queue: str, status: WorkerStatus.ValueType, at: datetime
) -> None:
    heartbeat = WorkerHeartbeat(
        worker_instance_key=uuid.uuid4().hex, worker_identity="w", task_queue=queue, status=status
    )
    heartbeat.heartbeat_time.FromDatetime(at)
    await client.workflow_service.record_worker_heartbeat(
        RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=[heartbeat])
    )


async def state_after(client: Client, queue: str, seconds: float, *kinds: int) -> QueueState:
    now = datetime.now(UTC) + timedelta(seconds=seconds)
    return await find_queue_state(client, queue, [TaskQueueType.ValueType(k) for k in kinds], now)


async def test_a_queue_that_nobody_has_polled_for_longer_than_a_poll_lasts(client: Client) -> None:
    queue = await polled(client, BOTH)
    for seconds in (0, 60, 85):
        assert (await state_after(client, queue, seconds, *BOTH)).is_served
    gone = await state_after(client, queue, 95, *BOTH)
    assert not gone.is_served
    assert gone.text.startswith("1 poller, the last poll 1 min 3")
    assert gone.text.endswith(" ago: no worker is there any more")


async def test_a_worker_whose_slots_are_all_taken_sends_heartbeats(client: Client) -> None:
    """It does not poll, for as long as its calls take."""
    queue = await polled(client, [ACTIVITIES])
    await send_heartbeat(client, queue, RUNNING, datetime.now(UTC) + timedelta(seconds=50))
    full = await state_after(client, queue, 95, ACTIVITIES)
    assert full.is_served
    assert "which is late" in full.text
    assert not (await state_after(client, queue, 150, ACTIVITIES)).is_served


async def test_an_older_temporal_tells_by_polls_for_workflow_tasks_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_given: object) -> None:
        return None

    monkeypatch.setattr("stigma_cli.pollers._has_heartbeats", unknown)
    activities, both = await polled(client, [ACTIVITIES]), await polled(client, BOTH)
    assert (await state_after(client, activities, 95, ACTIVITIES)).is_served
    assert (await state_after(client, both, 85, *BOTH)).is_served
    assert not (await state_after(client, both, 95, *BOTH)).is_served


async def test_a_worker_that_was_stopped_is_gone(client: Client) -> None:
    queue = await polled(client, [ACTIVITIES])
    await send_heartbeat(client, queue, SHUTDOWN, datetime.now(UTC))
    assert (await state_after(client, queue, 30, ACTIVITIES)).is_served
    gone = await state_after(client, queue, 95, ACTIVITIES)
    assert (gone.is_served, gone.has_worker) == (False, False)


async def test_workers_without_a_free_slot_for_minutes(client: Client) -> None:
    """Temporal forgets a poller five minutes after its last poll."""
    queue = f"q-{uuid.uuid4().hex[:8]}"
    nobody = await state_after(client, queue, 0, ACTIVITIES)
    assert (nobody.is_served, nobody.text) == (False, "0 pollers")
    await send_heartbeat(client, queue, RUNNING, datetime.now(UTC))
    full = await state_after(client, queue, 0, ACTIVITIES)
    assert (full.is_served, full.has_worker) == (False, True)
    assert full.text.startswith("0 pollers: its workers are there")


async def test_a_prefix_with_a_quote_is_no_other_query(client: Client) -> None:
    state = await state_after(client, "q'uote", 0, ACTIVITIES)
    assert (state.is_served, state.has_worker) == (False, None)
