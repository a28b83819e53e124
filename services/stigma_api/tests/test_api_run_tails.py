"""Runs that many follow: what each gets, and how often Temporal is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api, requests_to_temporal
from services.stigma_api.tests.fake_executions import FakeAgent
from stigma.agent.v1.agent_execution_service_pb2 import (
    ModelProgress,
    StartAgentRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma_api.errors import ApiError
from stigma_api.executions import model_progress, run_tails
from stigma_api.executions.model_progress import Written
from stigma_api.executions.run_tails import Page, RunTails
from tests.stack.waiting import eventually

PAGE = 5
KEY = ("agent-1", "run-1")


class Run:
    """A run whose history grows, read as Temporal's is."""

    def __init__(self) -> None:
        self.events: list[HistoryEvent] = []
        self.is_closed = False
        self.reads = 0
        self.waiting = 0
        self.failure: Exception | None = None
        self._grown = asyncio.Event()
        self.progress: Written | None = None
        self.progress_reads = 0

    def grow(self, count: int, *, close: bool = False) -> None:
        first = len(self.events) + 1
        self.events += [HistoryEvent(event_id=first + index) for index in range(count)]
        self.is_closed = close
        self._grown.set()
        self._grown = asyncio.Event()

    def write(self, text: str) -> Written:
        self.progress = Written(ModelProgress(step=1, attempt=1, text=text), Timestamp())
        return self.progress

    async def read_progress(self, workflow_id: str, run_id: str) -> Written | None:
        assert (workflow_id, run_id) == KEY
        self.progress_reads += 1
        return self.progress

    async def read(self, workflow_id: str, run_id: str, token: bytes) -> Page:
        assert (workflow_id, run_id) == KEY
        self.reads += 1
        start = int(token or 0)
        while start >= len(self.events) and not self.is_closed:
            self.waiting += 1
            try:
                await self._grown.wait()
            finally:
                self.waiting -= 1
        if self.failure is not None:
            raise self.failure
        page = Page()
        page.history.events.extend(self.events[start : start + PAGE])
        end = start + len(page.history.events)
        if end < len(self.events) or not self.is_closed:
            page.next_page_token = str(end).encode()
        return page


async def ids(pages: AsyncIterator[Any], until: int | None = None) -> list[int]:
    """The ids of events up to one, or to the end."""
    found: list[int] = []
    async for page in pages:
        found += [event.event_id for event in page]
        if until is not None and found[-1] >= until:
            break
    return found


async def test_followers_share_one_poll_and_each_gets_every_event() -> None:
    run = Run()
    run.grow(12)
    tails = RunTails(run.read, run.read_progress)
    followers = [asyncio.create_task(ids(tails.follow(*KEY))) for _ in range(50)]
    await eventually(lambda: run.waiting == 1, what="the poll")
    assert run.reads == 4  # three pages, and the poll
    late = asyncio.create_task(ids(tails.follow(*KEY)))
    run.grow(3)
    await eventually(lambda: run.reads == 5 and run.waiting == 1, what="the next poll")
    run.grow(2, close=True)
    for each in (*followers, late):
        assert await each == list(range(1, 18))
    assert run.reads == 5


async def test_a_late_follower_reads_what_is_not_kept_and_joins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_tails, "MAX_BEHIND", 10)
    run = Run()
    run.grow(100)
    tails = RunTails(run.read, run.read_progress)
    first = asyncio.create_task(ids(tails.follow(*KEY)))
    await eventually(lambda: run.waiting == 1, what="the poll")
    before = run.reads
    late = asyncio.create_task(ids(tails.follow(*KEY)))
    await eventually(lambda: run.reads == before + 18, what="all pages but those kept")
    assert run.waiting == 1
    run.grow(1, close=True)
    assert await first == await late == list(range(1, 102))


async def test_who_falls_far_behind_is_told_to_go_on_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_tails, "MAX_BEHIND", 10)
    run = Run()
    run.grow(3)
    tails = RunTails(run.read, run.read_progress)
    fast = asyncio.create_task(ids(tails.follow(*KEY)))
    async with aclosing(tails.follow(*KEY)) as slow:
        assert await ids(slow, until=3) == [1, 2, 3]
        run.grow(20)
        await eventually(lambda: run.waiting == 1, what="the fast one is up to date")
        with pytest.raises(ApiError) as refused:
            await anext(slow)
    assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    run.grow(1, close=True)
    assert await fast == list(range(1, 25))


async def test_large_events_are_read_again_rather_than_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_tails, "_MAX_KEPT_BYTES", 1)
    run = Run()
    run.grow(3)
    tails = RunTails(run.read, run.read_progress)
    fast = asyncio.create_task(ids(tails.follow(*KEY)))
    async with aclosing(tails.follow(*KEY)) as slow:
        seen = await ids(slow, until=3)
        run.grow(20)
        await eventually(lambda: run.waiting == 1, what="the fast one is up to date")
        run.grow(1, close=True)
        seen += await ids(slow)
    assert seen == await fast == list(range(1, 25))


async def test_the_poll_ends_with_its_last_follower_and_errors_reach_all() -> None:
    run = Run()
    run.grow(1)
    tails = RunTails(run.read, run.read_progress)
    followers = [asyncio.create_task(ids(tails.follow(*KEY))) for _ in range(3)]
    await eventually(lambda: run.waiting == 1, what="the poll")
    followers[0].cancel()
    await asyncio.wait(followers[:1])
    assert run.waiting == 1
    run.failure = ApiError(grpc.StatusCode.UNAVAILABLE, "away")
    run.grow(1)
    for each in followers[1:]:
        with pytest.raises(ApiError):
            await each
    run.failure = None
    again = asyncio.create_task(ids(tails.follow(*KEY)))
    await eventually(lambda: run.waiting == 1, what="the poll")
    again.cancel()
    await eventually(lambda: run.waiting == 0, what="nobody polls")


def model_call_started(run: Run) -> None:
    run.grow(1)
    scheduled = run.events[-1].activity_task_scheduled_event_attributes
    scheduled.activity_type.name = "converse"


def model_call_ended(run: Run) -> None:
    scheduled = run.events[-1].event_id
    run.grow(1)
    run.events[-1].activity_task_completed_event_attributes.scheduled_event_id = scheduled


async def test_progress_is_read_once_for_all_and_only_while_a_model_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_progress, "_INTERVAL_SECONDS", 0.001)
    run = Run()
    run.grow(3)
    tails = RunTails(run.read, run.read_progress)
    plain = asyncio.create_task(ids(tails.follow(*KEY)))
    followers = [tails.follow(*KEY, with_progress=True) for _ in range(3)]
    for each in followers:
        assert await ids(each, until=3) == [1, 2, 3]
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(anext(each)) for each in followers]
    await eventually(lambda: run.waiting == 1, what="the poll")
    assert run.progress_reads == 0
    model_call_started(run)
    assert [len(events) for events in await asyncio.gather(*waiting)] == [1, 1, 1]
    await eventually(lambda: run.progress_reads > 2, what="polls without progress")
    one = run.write("one")
    assert [await anext(each) for each in followers] == [one, one, one]
    waiting = [asyncio.ensure_future(anext(each)) for each in followers]
    before = run.progress_reads
    await eventually(lambda: run.progress_reads > before + 2, what="polls without news")
    assert not any(each.done() for each in waiting)
    model_call_ended(run)
    assert [len(events) for events in await asyncio.gather(*waiting)] == [1, 1, 1]
    before = run.progress_reads
    run.grow(1, close=True)
    for each in followers:
        assert await ids(each) == [6]
    assert await plain == [1, 2, 3, 4, 5, 6]
    assert run.progress_reads <= before + 1


async def test_a_run_without_progress_is_not_asked_for_it() -> None:
    run = Run()
    run.grow(3)
    model_call_started(run)
    tails = RunTails(run.read, run.read_progress)
    plain = asyncio.create_task(ids(tails.follow(*KEY)))
    await eventually(lambda: run.waiting == 1, what="the poll")
    run.write("one")
    run.grow(1, close=True)
    assert await plain == [1, 2, 3, 4, 5]
    assert run.progress_reads == 0


async def test_a_slow_reader_gets_only_the_newest_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_progress, "_INTERVAL_SECONDS", 0.001)
    run = Run()
    run.grow(3)
    model_call_started(run)
    tails = RunTails(run.read, run.read_progress)
    slow = tails.follow(*KEY, with_progress=True)
    assert await ids(slow, until=4) == [1, 2, 3, 4]
    async with aclosing(tails.follow(*KEY, with_progress=True)) as fast:
        assert await ids(fast, until=4) == [1, 2, 3, 4]
        for text in ("one", "one two", "one two three"):
            written = run.write(text)
            assert await anext(fast) is written
    assert await anext(slow) is written
    await slow.aclose()


async def test_the_poll_for_progress_ends_with_its_last_follower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_progress, "_INTERVAL_SECONDS", 0.001)
    run = Run()
    run.grow(3)
    model_call_started(run)
    tails = RunTails(run.read, run.read_progress)
    async with aclosing(tails.follow(*KEY)) as plain:
        assert await ids(plain, until=4) == [1, 2, 3, 4]
        async with aclosing(tails.follow(*KEY, with_progress=True)) as follower:
            assert await ids(follower, until=4) == [1, 2, 3, 4]
            written = run.write("one")
            assert await anext(follower) is written
        [tail] = tails._tails.values()
        assert tail.progress._polling is None


async def test_many_watches_of_an_execution_cost_one_poll(staffed_api: Api, client: Client) -> None:
    started = await staffed_api.executions.StartAgent(
        StartAgentRequest(agent_id="reviewer", message="m")
    )
    watches = 20
    answered = 0

    async def watch() -> list[WatchAgentExecutionResponse]:
        nonlocal answered
        events = []
        request = WatchAgentExecutionRequest(id=started.id)
        async for event in staffed_api.executions.WatchAgentExecution(request, timeout=30):
            events.append(event)
            answered += event.HasField("model_call_completed")
        return events

    watching = [asyncio.create_task(watch()) for _ in range(watches)]
    await eventually(lambda: answered == watches, what="every watch is up to date")
    before = await requests_to_temporal(staffed_api)
    handle = client.get_workflow_handle(started.id)
    await handle.signal(FakeAgent.tell, "done")
    first, *others = await asyncio.gather(*watching)
    assert first[-1].HasField("ended")
    assert all(each == first for each in others)
    asked = await requests_to_temporal(staffed_api) - before
    # Each reads the outcome at the end.
    assert watches <= asked["GetWorkflowExecutionHistory"] < watches + 10
