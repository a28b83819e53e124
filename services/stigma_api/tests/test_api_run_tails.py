"""Runs that many follow: what each gets, and how often Temporal is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api, requests_to_temporal
from services.stigma_api.tests.fake_executions import FakeAgent
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma_api.errors import ApiError
from stigma_api.executions import run_tails
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

    def grow(self, count: int, *, close: bool = False) -> None:
        first = len(self.events) + 1
        self.events += [HistoryEvent(event_id=first + index) for index in range(count)]
        self.is_closed = close
        self._grown.set()
        self._grown = asyncio.Event()

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
    tails = RunTails(run.read)
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
    tails = RunTails(run.read)
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
    tails = RunTails(run.read)
    fast = asyncio.create_task(ids(tails.follow(*KEY)))
    async with aclosing(tails.follow(*KEY)) as slow:
        assert [event.event_id for event in await anext(slow)] == [1, 2, 3]
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
    tails = RunTails(run.read)
    fast = asyncio.create_task(ids(tails.follow(*KEY)))
    async with aclosing(tails.follow(*KEY)) as slow:
        seen = [event.event_id for event in await anext(slow)]
        run.grow(20)
        await eventually(lambda: run.waiting == 1, what="the fast one is up to date")
        run.grow(1, close=True)
        seen += await ids(slow)
    assert seen == await fast == list(range(1, 25))


async def test_the_poll_ends_with_its_last_follower_and_errors_reach_all() -> None:
    run = Run()
    run.grow(1)
    tails = RunTails(run.read)
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
