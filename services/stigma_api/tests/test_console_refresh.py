"""How often the console takes snapshots of an execution, and how many calls it makes at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_COMPLETED, AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    ModelProgress,
    WatchAgentExecutionResponse,
)
from stigma.contracts.executions import Kind
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    ListStuckExecutionsResponse,
)
from stigma_api import errors
from stigma_api.access.principals import LOCAL
from stigma_api.console import api as console_api
from stigma_api.console import execution_refresh
from stigma_api.console.api import Api
from stigma_api.console.execution_refresh import ExecutionRefresher, Snapshot, backoff
from stigma_api.console.partial_answer import PartialAnswer, Writing
from stigma_api.console.views import MAX_TEXT
from stigma_api.errors import ApiError
from stigma_api.executions.cursors import Cursor, Position


class FakeServices:
    """Services of an execution that changes all the time."""

    def __init__(self, cost: float = 0) -> None:
        self.cost = cost
        self.reading = self.most = 0
        self.runs: list[tuple[str, str]] = []
        self.watched: list[str] = []
        self.refused: set[str] = set()
        self.executions = {Kind.AGENT: self}
        self.diagnosis = self

    async def get(
        self, _principal: Any, execution_id: str, *, full: bool, pending_steps: bool
    ) -> AgentExecution:
        assert full
        assert pending_steps
        return AgentExecution(id=execution_id)

    async def timeline(self, _principal: Any, execution_id: str) -> ExecutionTimeline:
        await self._work()
        timeline = ExecutionTimeline(execution_id=execution_id)
        for workflow_id, run_id in self.runs:
            timeline.entries.add(workflow_id=workflow_id, run_id=run_id)
        return timeline

    async def stuck(self, _principal: Any, _request: Any) -> ListStuckExecutionsResponse:
        await self._work()
        return ListStuckExecutionsResponse()

    async def watch(
        self, _principal: Any, _execution_id: str, cursor: str
    ) -> AsyncIterator[WatchAgentExecutionResponse]:
        self.watched.append(cursor)
        if cursor in self.refused:
            raise errors.invalid_argument([("cursor", "is too old")])
        while True:
            yield WatchAgentExecutionResponse(cursor="reached")
            await asyncio.sleep(0.001)

    async def _work(self) -> None:
        self.reading += 1
        self.most = max(self.most, self.reading)
        await asyncio.sleep(self.cost)
        self.reading -= 1


def api_of(services: Any, **bounds: Any) -> Api:
    given: dict[str, Any] = {"max_calls": 100, "call_timeout": timedelta(seconds=10)} | bounds
    return Api(services, **given)


async def seconds_of(count: int, services: FakeServices) -> float:
    begun = time.monotonic()
    async with aclosing(ExecutionRefresher(api_of(services)).snapshots(LOCAL, "agent-1")) as seen:
        for _ in range(count):
            await anext(seen)
    return time.monotonic() - begun


async def test_however_much_happens_there_is_time_between_looks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(execution_refresh, "_MIN_SECONDS", 0.1)
    monkeypatch.setattr(execution_refresh, "_REFRESH_SECONDS", 60)
    assert 0.29 <= await seconds_of(4, FakeServices()) < 20  # and news ends the wait


async def test_what_takes_long_is_looked_at_rarely(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(execution_refresh, "_MIN_SECONDS", 0)
    assert await seconds_of(3, FakeServices(cost=0.05)) >= 0.44  # 3 snapshots, 2 waits
    assert backoff(time.monotonic(), 2) == 2
    assert backoff(time.monotonic() - 5, 2) >= 15


@pytest.mark.parametrize(
    ("runs", "cursor"),
    [
        (
            [("agent-1", "old"), ("agent-1", "new"), ("order-1", "caller")],
            str(Cursor(Position("new", 0))),
        ),
        ([("agent-1", "known"), ("agent-1", "")], str(Cursor(Position("known", 0)))),
        (
            [("agent-1", "own"), ("run-1", "old"), ("run-1", "new")],
            str(Cursor(Position("own", 0), Position("new", 0))),
        ),
        ([("order-1", "caller")], ""),
    ],
)
async def test_what_happened_in_runs_before_is_not_read_again(
    runs: list[tuple[str, str]], cursor: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(execution_refresh, "_MIN_SECONDS", 0.01)
    services = FakeServices()
    services.runs = runs
    await seconds_of(3, services)
    assert services.watched == [cursor]


async def test_a_run_that_is_gone_is_followed_from_what_there_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(execution_refresh, "_MIN_SECONDS", 0.01)
    monkeypatch.setattr(execution_refresh, "_REFRESH_SECONDS", 0.02)
    services = FakeServices()
    services.runs = [("agent-1", "gone")]
    gone = str(Cursor(Position("gone", 0)))
    services.refused = {gone}
    async with aclosing(
        ExecutionRefresher(api_of(services)).snapshots(LOCAL, "agent-1")
    ) as snapshots:
        async for _ in snapshots:
            if len(services.watched) > 1:
                break
    assert services.watched == [gone, ""]


async def test_few_histories_are_read_at_a_time():
    services = FakeServices(cost=0.01)
    api = api_of(services)
    reads = [api.timeline(LOCAL, "agent-1") for _ in range(10)]
    await asyncio.gather(*reads, api.stuck(LOCAL), api.stuck(LOCAL))
    assert services.most == console_api._MAX_LONG_READS


async def test_calls_are_bounded_as_those_of_programs():
    services = FakeServices(cost=3600)
    api = api_of(services, max_calls=6)
    reads = [asyncio.create_task(api.timeline(LOCAL, "agent-1")) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as refused:
        await api.execution(LOCAL, "agent-1", pending_steps=True)
    assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    assert (await api.execution(LOCAL, "agent-1", pending_steps=True)).id == "agent-1"


async def test_a_call_that_takes_too_long_is_given_up():
    api = api_of(FakeServices(cost=3600), call_timeout=timedelta(seconds=0.05))
    # Those that wait for others to end are given up like them.
    reads = [api.timeline(LOCAL, "agent-1") for _ in range(console_api._MAX_LONG_READS + 1)]
    for answer in await asyncio.gather(*reads, return_exceptions=True):
        assert isinstance(answer, ApiError)
        assert answer.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await api.execution(LOCAL, "agent-1", pending_steps=True)).id == "agent-1"


class WritingServices(FakeServices):
    """Services of an execution whose model writes what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshots = 0
        self._events: asyncio.Queue[ModelProgress | None] = asyncio.Queue()
        self._end: datetime | None = None

    def write(self, progress: ModelProgress | None) -> None:
        """Write this; None completes the answer."""
        self._events.put_nowait(progress)

    def end(self) -> None:
        """Let the execution have ended, long enough ago for its caller to have gone on."""
        self._end = datetime.now(UTC) - timedelta(hours=1)

    async def get(
        self, _principal: Any, execution_id: str, *, full: bool, pending_steps: bool
    ) -> AgentExecution:
        self.snapshots += 1
        execution = await super().get(
            _principal, execution_id, full=full, pending_steps=pending_steps
        )
        if self._end is not None:
            execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
            execution.status.end_time.FromDatetime(self._end)
        return execution

    async def watch(
        self, _principal: Any, _execution_id: str, cursor: str
    ) -> AsyncIterator[WatchAgentExecutionResponse]:
        while True:
            progress = await self._events.get()
            event = WatchAgentExecutionResponse(cursor="reached", progress=progress)
            if progress is None:
                event.model_call_completed.step = 1
            yield event


async def test_text_of_a_model_is_shown_without_asking_for_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = WritingServices()
    monkeypatch.setattr(execution_refresh, "_MIN_SECONDS", 0)
    async with aclosing(ExecutionRefresher(api_of(services)).snapshots(LOCAL, "agent-1")) as seen:
        first = await anext(seen)
        assert first.writing is None
        for text in ("<b>one", "<b>one two"):
            services.write(ModelProgress(step=1, attempt=1, text=text))
            snapshot = await anext(seen)
            assert snapshot.shown is first.shown
            assert snapshot.writing == Writing(1, 1, text, 0)
        services.write(None)
        # It is kept until a snapshot has the whole answer.
        complete = await anext(seen)
        assert (complete.shown is first.shown, complete.writing) == (False, None)
    assert services.snapshots == 2


async def test_no_answer_is_under_way_in_an_execution_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = WritingServices()
    monkeypatch.setattr(execution_refresh, "_MIN_SECONDS", 0)
    monkeypatch.setattr(execution_refresh, "_REFRESH_SECONDS", 0.05)
    async with aclosing(ExecutionRefresher(api_of(services)).snapshots(LOCAL, "agent-1")) as seen:
        await anext(seen)
        services.write(ModelProgress(step=1, attempt=1, text="almost all"))
        while (await anext(seen)).writing is None:
            pass  # a snapshot came before the text
        # The page reads that it has ended before the watch tells of the answer's end.
        services.end()
        last = await _last(seen)
    assert (last.is_final, last.writing) == (True, None)


async def _last(seen: AsyncIterator[Snapshot]) -> Snapshot:
    async with asyncio.timeout(20):
        return [snapshot async for snapshot in seen][-1]


def test_an_answer_is_put_together_of_its_pieces() -> None:
    answer = PartialAnswer()
    answer.add(ModelProgress(step=2, attempt=1, text="ab"))
    answer.add(ModelProgress(step=2, attempt=1, offset=2, text="cd"))
    assert answer.writing == Writing(2, 1, "abcd", 0)
    # Something was missed.
    answer.add(ModelProgress(step=2, attempt=1, offset=7, text="x"))
    assert answer.writing == Writing(2, 1, "x", 7)
    answer.add(ModelProgress(step=2, attempt=2, text="y" * (MAX_TEXT + 5)))
    assert answer.writing == Writing(2, 2, "y" * MAX_TEXT, 5)
    answer.clear()
    assert answer.writing is None
