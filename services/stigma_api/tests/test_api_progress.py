"""Progress of models in WatchAgentExecution, against a real Temporal server."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.stigma_api.tests.api_server import Api, requests_to_temporal, running_api
from services.stigma_api.tests.fake_executions import FakeAgent
from services.stigma_api.tests.writing_model import END, FAIL, WritingModel
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.contracts.partial_text import MAX_TAIL_BYTES, ReceivedText
from stigma_api.executions.reader import Reader
from stigma_api.executions.watch import Watching
from stigma_api.executions.watch_events import AgentEventMapper
from stigma_api.kinds import AGENTS
from tests.stack.waiting import eventually

Event = WatchAgentExecutionResponse


@pytest.fixture(scope="module")
def model() -> WritingModel:
    return WritingModel()


@pytest.fixture(scope="module")
async def writing_api(
    client: Client,
    temporal_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
    model: WritingModel,
) -> AsyncIterator[Api]:
    """An API whose agents' model writes as a test says."""
    async with running_api(temporal_server.address, tmp_path_factory.mktemp("api")) as api:
        await api.apply("writer")
        async with Worker(
            client,
            task_queue=api.queues.orchestrator,
            workflows=[FakeAgent],
            activities=[model.call_model],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_heartbeat_throttle_interval=timedelta(milliseconds=20),
            default_heartbeat_throttle_interval=timedelta(milliseconds=20),
        ):
            yield api


class Writer:
    """One execution, whose model is told what to write."""

    def __init__(self, api: Api, model: WritingModel, client: Client) -> None:
        self._name = uuid.uuid4().hex
        self._api, self._model, self._client = api, model, client
        self._calls: list[Any] = []
        self.id = ""

    async def start(self, *, partial_text: bool = True) -> None:
        request = StartAgentRequest(
            agent_id="writer", message=self._name, partial_text=partial_text
        )
        self.id = (await self._api.executions.StartAgent(request)).id

    def write(self, text: str) -> None:
        self._model.write(self._name, text)

    async def attempt(self) -> int:
        return await self._model.attempt(self._name)

    def watch(self, cursor: str = "") -> Any:
        request = WatchAgentExecutionRequest(id=self.id, cursor=cursor)
        call = self._api.executions.WatchAgentExecution(request, timeout=60)
        self._calls.append(call)
        return call

    async def close(self) -> None:
        """End every watch: its polls would be counted as another test's."""
        for call in self._calls:
            call.cancel()
        method = "/stigma.agent.v1.AgentExecutionService/WatchAgentExecution"
        open_calls = partial(
            self._api.runtime.metrics.get_sample_value, "stigma_rpc_in_flight", {"method": method}
        )
        await eventually(lambda: not open_calls(), what="the end of every watch")

    async def end(self) -> None:
        self.write(END)
        await self._client.get_workflow_handle(self.id).signal(FakeAgent.tell, "done")


@pytest.fixture
async def writer(writing_api: Api, model: WritingModel, client: Client) -> AsyncIterator[Writer]:
    writer = Writer(writing_api, model, client)
    yield writer
    await writer.close()


async def next_of(events: Any, kind: str) -> Event:
    """The next event, which must be of this kind."""
    event: Event = await anext(events)
    assert event.WhichOneof("event") == kind
    return event


async def begun(writer: Writer, *, partial_text: bool = True) -> Any:
    """A watch that has seen the model's call begin."""
    await writer.start(partial_text=partial_text)
    events = aiter(writer.watch())
    await next_of(events, "started")
    await next_of(events, "model_call_started")
    return events


async def test_text_appears_while_the_model_writes(writer: Writer) -> None:
    events = await begun(writer)
    writer.write("One two")
    first = await next_of(events, "progress")
    assert (first.progress.step, first.progress.attempt) == (1, 1)
    assert (first.progress.offset, first.progress.text) == (0, "One two")
    assert abs(first.time.ToDatetime().timestamp() - time.time()) < 24 * 3600
    writer.write(" three 👋")
    second = await next_of(events, "progress")
    assert (second.progress.offset, second.progress.text) == (7, " three 👋")
    late = await first_progress(writer)
    assert (late.progress.offset, late.progress.text) == (0, "One two three 👋")
    await writer.end()
    completed = await next_of(events, "model_call_completed")
    assert completed.model_call_completed.message.parts[0].text == "One two three 👋"
    await next_of(events, "ended")
    assert [each async for each in events] == []


async def first_progress(writer: Writer, cursor: str = "") -> Event:
    """What a new watch gets first of a model's text."""
    call = writer.watch(cursor)
    async for event in call:
        if event.HasField("progress"):
            call.cancel()
            return Event.FromString(event.SerializeToString())
    raise AssertionError("the watch has ended")


async def test_a_watch_resumes_after_progress_without_loss_or_repetition(writer: Writer) -> None:
    events = await begun(writer)
    writer.write("One")
    cursor = (await next_of(events, "progress")).cursor
    resumed = aiter(writer.watch(cursor))
    again = await next_of(resumed, "progress")
    assert (again.progress.offset, again.progress.text) == (0, "One")
    assert again.cursor == cursor
    await writer.end()
    assert [event.WhichOneof("event") async for event in resumed] == [
        "model_call_completed",
        "ended",
    ]
    after = [event.WhichOneof("event") async for event in writer.watch(cursor)]
    assert after == ["model_call_completed", "ended"]


async def test_twenty_random_reconnects_put_the_whole_text_together(writer: Writer) -> None:
    rng = random.Random(20)
    events = await begun(writer)
    whole, received, cursor, seen = "", ReceivedText(), "", ["started", "model_call_started"]
    for _ in range(20):
        piece = "".join(rng.choices("abc äöü 日本 👋🏽\n", k=rng.randint(1, 400)))
        whole += piece
        writer.write(piece)
        call = writer.watch(cursor)
        wanted = len(whole) if rng.random() < 0.7 else 1
        async for event in call:
            cursor = event.cursor
            if event.HasField("progress"):
                received.add(event.progress)
                received.add(event.progress)
                assert whole.startswith(received.text)
                if len(received.text) >= wanted:
                    break
            elif (kind := event.WhichOneof("event")) not in seen:
                seen.append(kind)
        call.cancel()
    # Who watched all the time has the same.
    other = ReceivedText()
    while len(other.text) < len(whole):
        other.add((await next_of(events, "progress")).progress)
    assert other.text == whole
    last = await first_progress(writer, cursor)
    received.add(last.progress)
    assert (received.offset, received.text) == (0, whole)
    await writer.end()
    everything = [event async for event in writer.watch(cursor)]
    rest = [event for event in everything if not event.HasField("progress")]
    assert [event.WhichOneof("event") for event in rest] == ["model_call_completed", "ended"]
    assert rest[0].model_call_completed.message.parts[0].text == received.text
    assert seen == ["started", "model_call_started"]


async def test_a_long_text_has_only_its_end_in_a_late_watch(writer: Writer) -> None:
    events = await begun(writer)
    whole = "".join(f"{number} ä " for number in range(MAX_TAIL_BYTES))
    writer.write(whole)
    progress = (await next_of(events, "progress")).progress
    assert MAX_TAIL_BYTES - 1 <= len(progress.text.encode()) <= MAX_TAIL_BYTES
    assert progress.text == whole[progress.offset :]
    await writer.end()


async def described(api: Api, times: int) -> None:
    """Wait until the API has described executions so many times more."""
    before = (await requests_to_temporal(api))["DescribeWorkflowExecution"]

    async def enough() -> bool:
        counts = await requests_to_temporal(api)
        return counts["DescribeWorkflowExecution"] >= before + times

    await eventually(enough, what="descriptions")


async def test_two_attempts_do_not_mix(writer: Writer, writing_api: Api) -> None:
    events = await begun(writer)
    assert await writer.attempt() == 1
    writer.write("first try")
    first = (await next_of(events, "progress")).progress
    assert (first.attempt, first.text) == (1, "first try")
    writer.write(FAIL)
    assert await writer.attempt() == 2
    # Temporal still has the first attempt's text, and the API reads it with each description.
    await described(writing_api, 2)
    late = aiter(writer.watch())
    await next_of(late, "started")
    await next_of(late, "model_call_started")
    await described(writing_api, 2)
    writer.write("second")
    for watch in (events, late):
        second = (await next_of(watch, "progress")).progress
        assert (second.attempt, second.offset, second.text) == (2, 0, "second")
    await writer.end()


async def test_without_partial_text_there_is_no_progress(writer: Writer, writing_api: Api) -> None:
    events = await begun(writer, partial_text=False)
    before = await requests_to_temporal(writing_api)
    writer.write("One two")
    await writer.end()
    await next_of(events, "model_call_completed")
    await next_of(events, "ended")
    asked = await requests_to_temporal(writing_api) - before
    assert asked["DescribeWorkflowExecution"] == 1  # the watch's end


async def test_pages_do_not_follow_what_a_model_writes(writer: Writer, client: Client) -> None:
    events = await begun(writer)
    reader = Reader(client, AGENTS)
    found = await reader.find(writer.id)
    assert found is not None
    watching = Watching(client, AGENTS, reader, AgentEventMapper)
    seen: asyncio.Queue[str | None] = asyncio.Queue()

    async def watch() -> None:
        async for event in watching.events(found, "", with_progress=False):
            seen.put_nowait(event.WhichOneof("event"))

    running = asyncio.create_task(watch())
    kinds = [await seen.get(), await seen.get()]
    for text in ("One", " two", " three"):
        writer.write(text)
        await next_of(events, "progress")
    await writer.end()
    await running
    while not seen.empty():
        kinds.append(await seen.get())
    assert kinds == ["started", "model_call_started", "model_call_completed", "ended"]


async def test_many_watches_cost_one_description_a_second(writer: Writer, writing_api: Api) -> None:
    first = await begun(writer)
    watches = [first, *(aiter(writer.watch()) for _ in range(19))]
    for each in watches[1:]:
        await next_of(each, "started")
        await next_of(each, "model_call_started")
    before, since = await requests_to_temporal(writing_api), time.monotonic()
    for text in ("One", " two", " three"):
        writer.write(text)
        for event in await asyncio.gather(*(next_of(each, "progress") for each in watches)):
            assert event.progress.text == text
    asked = await requests_to_temporal(writing_api) - before
    assert 3 <= asked["DescribeWorkflowExecution"] <= time.monotonic() - since + 2
    await writer.end()
