"""Watches of workflow executions: the calls and timers of the document, as they happen."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
from temporalio.api.common.v1 import WorkflowExecution as Execution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api, refused
from services.stigma_api.tests.fake_workflows import timeline_of
from stigma.contracts import engine
from stigma.diagnosis.v1.diagnosis_service_pb2 import TIMELINE_STEP_DOCUMENT_CALL
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    DOCUMENT_CALL_OUTCOME_GIVEN_UP,
    DocumentCallEnded,
    DocumentCallKind,
    DocumentCallOutcome,
    DocumentTimerKind,
    GetWorkflowExecutionRequest,
    StartWorkflowRequest,
    WatchWorkflowExecutionRequest,
    WatchWorkflowExecutionResponse,
)
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_api.executions.cursors import Cursor, Position
from stigma_api.executions.document_events import DocumentEventMapper
from stigma_api.executions.document_run import DocumentRun
from stigma_api.executions.followed_workflow import FollowedWorkflow
from stigma_api.executions.history_pages import HistoryPages
from stigma_api.executions.merged_batches import Source
from stigma_api.executions.model_progress import read_progress
from stigma_api.executions.run_tails import Page, ReadPage, RunTails
from tests.stack.waiting import eventually

Events = list[WatchWorkflowExecutionResponse]


async def start(api: Api, document: str = "calls") -> str:
    spec = WorkflowSpec(document=document)
    started = await api.workflow_executions.StartWorkflow(StartWorkflowRequest(spec=spec))
    return str(started.id)


def watch(api: Api, execution_id: str, cursor: str = "") -> Any:
    request = WatchWorkflowExecutionRequest(id=execution_id, cursor=cursor)
    return api.workflow_executions.WatchWorkflowExecution(request, timeout=30)


async def watched(api: Api, execution_id: str, cursor: str = "") -> Events:
    """Everything up to the end of an execution that has ended."""
    return [event async for event in watch(api, execution_id, cursor)]


def told(events: Events) -> list[tuple[str, str]]:
    """Kinds and ids of the events about calls and timers."""
    found: list[tuple[str, str]] = []
    for event in events:
        kind = event.WhichOneof("event") or ""
        about = getattr(event, kind)
        subject = getattr(about, "call", None) or getattr(about, "timer", None)
        if subject is not None:
            found.append((kind, subject.id))
    return found


def line(event: WatchWorkflowExecutionResponse) -> str:
    """An event in short."""
    match event.WhichOneof("event"):
        case "call_started":
            call = event.call_started.call
            kind = DocumentCallKind.Name(call.kind).removeprefix("DOCUMENT_CALL_KIND_")
            return " ".join(filter(None, (kind, call.agent, call.task)))
        case "call_ended":
            return ended(event.call_ended)
        case "timer_ended":
            return "timer fired" if event.timer_ended.fired else "timer stopped"
        case other:
            return str(other)


def ended(call: DocumentCallEnded) -> str:
    outcome = DocumentCallOutcome.Name(call.outcome).removeprefix("DOCUMENT_CALL_OUTCOME_")
    parts = [outcome, call.error, str(call.status or ""), call.execution_id]
    return " ".join(part for part in (*parts, f"attempt {call.attempt}") if part)


async def test_calls_and_timers_are_told_as_they_happen_and_every_cursor_resumes(
    staged_api: Api, client: Client
) -> None:
    """Over a continue-as-new of the document, with nothing of what it sends and gets."""
    execution_id = await start(staged_api)
    live: Events = []
    async for event in watch(staged_api, execution_id):
        assert b"secret" not in event.SerializeToString()
        live.append(event)
        if line(event) == "HTTP /do/0/fetch":
            await client.get_workflow_handle(engine.run_id(execution_id)).terminate()
    assert [line(event) for event in live] == [
        "started",
        "run_started",
        "GRPC /do/0/ask",
        "OK attempt 1",
        "OPENAPI /do/1/order",
        "FAILED timeout 408 attempt 1",
        "AGENT reviewer /do/2/review",
        "OK agent-of-a-document attempt 1",
        "timer_started",
        "timer fired",
        "timer_started",
        "timer_started",
        "timer fired",
        "timer stopped",
        "HTTP /do/0/fetch",
        "timer_started",
        "GIVEN_UP attempt 0",
        "timer stopped",
        "ended",
    ]
    starts = [each.call_started.call for each in live if each.HasField("call_started")]
    assert starts == [each.call_ended.call for each in live if each.HasField("call_ended")]
    assert len({call.id for call in starts}) == len(starts)
    timers = [each for each in live if each.HasField("timer_started")]
    begun = {each.timer_started.timer.id: each.timer_started.timer for each in timers}
    over = [each.timer_ended.timer for each in live if each.HasField("timer_ended")]
    assert begun == {each.id: each for each in over}
    fires = timers[-1].timer_started.timer.fire_time.ToDatetime()
    assert (fires - timers[-1].time.ToDatetime()).total_seconds() == 3600
    times = [event.time.ToNanoseconds() for event in live]
    assert times == sorted(times)
    assert await watched(staged_api, execution_id) == live
    for index, event in enumerate(live):
        assert await watched(staged_api, execution_id, event.cursor) == live[index + 1 :]


async def test_what_has_happened_already_comes_in_order_of_time(
    staged_api: Api, client: Client
) -> None:
    execution_id = await start(staged_api)
    async for event in watch(staged_api, execution_id):
        if line(event) == "AGENT reviewer /do/2/review":
            await client.get_workflow_handle(execution_id).cancel(reason="enough")
    everything = await watched(staged_api, execution_id)
    lines = [line(event) for event in everything]
    assert lines.index("AGENT reviewer /do/2/review") < lines.index("cancel_requested")
    assert lines[-1] == "ended"
    times = [event.time.ToNanoseconds() for event in everything]
    assert times == sorted(times)
    # A release without these events gave cursors that say nothing of the document.
    own = Cursor.parse(everything[lines.index("cancel_requested")].cursor).own
    rest = await watched(staged_api, execution_id, str(Cursor(own)))
    assert [line(event) for event in rest] == [
        each for each in lines if each not in {"started", "run_started", "cancel_requested"}
    ]


async def test_a_document_that_is_reset_is_followed_into_its_new_run(
    staged_api: Api, client: Client
) -> None:
    execution_id = await start(staged_api, "retries")
    run = client.get_workflow_handle(engine.run_id(execution_id))
    lines: list[str] = []
    async for event in watch(staged_api, execution_id):
        lines.append(line(event))
        if lines[-1] != "timer_started":
            continue
        if lines.count("timer_started") > 1:
            await run.terminate()
            continue
        reset = ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=Execution(workflow_id=run.id),
            workflow_task_finish_event_id=3,
            request_id=execution_id,
        )
        await client.workflow_service.reset_workflow_execution(reset)
    once = ["HTTP /do/0/fetch", "timer_started", "GIVEN_UP attempt 0", "timer stopped"]
    assert lines == ["started", "run_started", *once, *once, "ended"]


async def test_a_call_that_a_timeout_ended_says_so(staged_api: Api) -> None:
    execution_id = await start(staged_api, "times out")
    [ended] = [
        each.call_ended
        for each in await watched(staged_api, execution_id)
        if each.HasField("call_ended")
    ]
    assert ended.outcome == DOCUMENT_CALL_OUTCOME_GIVEN_UP
    assert (ended.error, ended.status) == ("timeout", 408)
    found = await timeline_of(staged_api, execution_id)
    [call] = [each for each in found.entries if each.step == TIMELINE_STEP_DOCUMENT_CALL]
    assert call.detail == "given up, timeout, status 408"


async def test_a_timeout_that_was_caught_is_told_from_a_cancellation(
    staged_api: Api, client: Client
) -> None:
    """By the timer that fired right before; an engine up to 0.2.0 gave no summaries to timers."""
    execution_id = await start(staged_api, "caught")
    outcomes: dict[str, str] = {}
    timers: list[str] = []
    async for event in watch(staged_api, execution_id):
        if event.HasField("timer_started"):
            timer = event.timer_started.timer
            kind = DocumentTimerKind.Name(timer.kind).removeprefix("DOCUMENT_TIMER_KIND_")
            tries = f" {timer.try_number}/{timer.max_tries}" if timer.try_number else ""
            timers.append(f"{kind} {timer.task}{tries}")
        elif event.HasField("call_ended"):
            call = event.call_ended.call
            tries = f" {call.try_number}/{call.max_tries}" if call.try_number else ""
            outcomes[f"{call.task}{tries}"] = ended(event.call_ended).partition(" attempt")[0]
        if timers[-1:] == ["WAIT /do/6/pause"]:
            steps = await pending_steps(staged_api, execution_id)
            await client.get_workflow_handle(engine.run_id(execution_id)).terminate()
            timers.append("terminated")
    assert outcomes == {
        "/do/0/a/try/0/b": "TIMED_OUT timeout 408",
        "/do/1/b": "CANCELLED",  # it lost against the wait of another branch
        "/do/2/b": "CANCELLED",  # the timeout was that of another task
        "/do/3/a": "CANCELLED",
        "/do/4/a/b": "TIMED_OUT timeout 408",
        "/do/5/order": "FAILED timeout 408",
        "/do/5/order 2/3": "OK",
    }
    assert timers == [
        "TIMEOUT /do/0/a/try/0/b",
        "WAIT /do/1/a",
        "TIMEOUT /do/2/a",
        "UNSPECIFIED ",
        "RETRY /do/5/order 2/3",
        "WAIT /do/6/pause",
        "terminated",
    ]
    [step] = steps
    assert step.task == "/do/6/pause"
    assert step.title.endswith("Z of the wait /do/6/pause")
    found = await timeline_of(staged_api, execution_id)
    calls = [each for each in found.entries if each.step == TIMELINE_STEP_DOCUMENT_CALL]
    assert calls[0].detail == "timed out, timeout, status 408"
    assert calls[-1].title == "gRPC call /do/5/order, try 2 of 3"
    timer_titles = [each.title for each in found.entries if "before try" in each.title]
    assert len(timer_titles) == 1
    assert timer_titles[0].endswith(
        "Z before try 2 of 3 of /do/5/order after the failed OpenAPI call /do/5/order"
    )


async def pending_steps(api: Api, execution_id: str) -> Any:
    request = GetWorkflowExecutionRequest(id=execution_id, pending_steps=True)
    found = await api.workflow_executions.GetWorkflowExecution(request)
    return found.status.pending_steps


async def test_a_reset_of_the_execution_does_not_tell_its_document_again(
    staged_api: Api, client: Client
) -> None:
    execution_id = await start(staged_api, "retries")
    own = client.get_workflow_handle(execution_id)
    async for event in watch(staged_api, execution_id):
        if event.HasField("timer_started"):
            await client.get_workflow_handle(engine.run_id(execution_id)).terminate()
    before = await watched(staged_api, execution_id)
    begun = False
    async for each in own.fetch_history_events():
        begun |= each.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
        if begun and each.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            break
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=Execution(workflow_id=execution_id),
            workflow_task_finish_event_id=each.event_id,
            request_id=execution_id,
        )
    )
    await own.terminate()
    everything = told(await watched(staged_api, execution_id))
    first = told(before)
    # Before it was terminated, the execution may have begun its document anew.
    assert everything[: len(first)] == first
    assert max(Counter(everything).values()) == 1


async def test_after_a_continue_as_new_nothing_more_is_known_to_be_there(client: Client) -> None:
    """Else the events of the execution would wait for the next one of its document."""
    first = HistoryEvent(
        event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
    )
    first.workflow_execution_continued_as_new_event_attributes.new_execution_run_id = "second"
    begun = HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)

    async def read(_workflow_id: str, run_id: str, _token: bytes) -> Page:
        if run_id == "first":
            return Page(history=History(events=[first]))
        return Page(history=History(events=[begun]), next_page_token=b"more")

    async def current_run() -> str:
        return "second"

    tails = RunTails(read, partial(read_progress, client))
    followed = FollowedWorkflow(
        tails, "run", new_mapper=lambda: DocumentEventMapper(client), current_run=current_run
    )
    followed.note(Position("first", 1))
    assert followed.has_more
    seen = []
    async with aclosing(followed.batches(Position("first", 0))) as batches:
        async for batch in batches:
            seen.append((batch.source, followed.has_more))
            if len(seen) == 2:
                break
    assert seen == [(first, True), (begun, False)]


async def test_a_position_in_something_else_is_refused(staged_api: Api, client: Client) -> None:
    execution_id = await start(staged_api, "retries")
    async for event in watch(staged_api, execution_id):
        if event.HasField("timer_started"):
            break
        if event.HasField("run_started"):
            run = event.run_started.run
    own = Cursor.parse(event.cursor).own
    for wrong in (Position(own.run_id, 1), Position("none", 1), Position(run.run_id, 99)):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT) as refusal:
            await watched(staged_api, execution_id, str(Cursor(own, wrong)))
        assert refusal.fields == ["cursor"]
    await client.get_workflow_handle(run.workflow_id).terminate()


async def test_a_document_that_temporal_has_no_more_of_is_left_out(client: Client) -> None:
    """As after retention: only the execution says that there was one."""
    execution_id = f"workflow-{uuid.uuid4().hex}"
    pages = HistoryPages(client)
    assert await pages.first_position(engine.run_id(execution_id), [str(uuid.uuid4())]) is None

    history = history_of(execution_id, str(uuid.uuid4()))

    async def read(_workflow_id: str, _run_id: str, _token: bytes) -> Page:
        return Page(history=History(events=history))

    own, document = followed(client, execution_id, read)
    batches = [each async for each in document.beside(own)]
    assert [(is_document, each.source) for is_document, each in batches] == [
        (False, event) for event in history
    ]


async def test_an_execution_whose_document_is_over_waits_for_the_rest_of_it(client: Client) -> None:
    execution_id = f"workflow-{uuid.uuid4().hex}"
    run = await client.start_workflow(
        "nobody-runs-it", id=engine.run_id(execution_id), task_queue=execution_id
    )
    assert run.first_execution_run_id
    begun, *over = history_of(execution_id, run.first_execution_run_id)
    pages, is_over, may_read = HistoryPages(client), asyncio.Event(), asyncio.Event()

    async def read(workflow_id: str, run_id: str, token: bytes) -> Page:
        if workflow_id == run.id:
            if token:
                await may_read.wait()
            return await pages.next(workflow_id, run_id, token)
        if not token:
            return Page(history=History(events=[begun]), next_page_token=b"more")
        await is_over.wait()
        return Page(history=History(events=over))

    own, document = followed(client, execution_id, read)
    async with aclosing(document.beside(own)) as batches:
        assert [(await anext(batches))[0] for _ in range(3)] == [False, True, True]
        await run.terminate()
        is_over.set()
        upcoming = asyncio.ensure_future(anext(batches))
        checked = await eventually(lambda: upcoming.done() or document._last, what="the check")
        assert checked == over[0]
        may_read.set()
        rest = [await upcoming, *[each async for each in batches]]
    assert [is_document for is_document, _ in rest] == [True, False, False]


def history_of(execution_id: str, run_id: str) -> list[HistoryEvent]:
    """An execution's history, as far as it says that a document began and ended."""
    begun, *over = (
        HistoryEvent(event_id=number, event_type=kind)
        for number, kind in enumerate(
            (
                EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED,
                EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED,
                EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
            ),
            start=1,
        )
    )
    child = begun.child_workflow_execution_started_event_attributes.workflow_execution
    child.workflow_id, child.run_id = engine.run_id(execution_id), run_id
    for event in over:
        event.event_time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    return [begun, *over]


def followed(
    client: Client, execution_id: str, read: ReadPage
) -> tuple[Source[WatchWorkflowExecutionResponse], DocumentRun[WatchWorkflowExecutionResponse]]:
    """An execution and its document, whose histories are read so."""

    async def current_run() -> str:
        return "run"

    def mapper() -> DocumentEventMapper:
        return DocumentEventMapper(client)

    tails = RunTails(read, partial(read_progress, client))
    own = FollowedWorkflow(tails, execution_id, new_mapper=mapper, current_run=current_run)
    document = DocumentRun(client, tails, execution_id, new_mapper=mapper, cursor=None)
    return Source(own, Position("run", 0)), document
