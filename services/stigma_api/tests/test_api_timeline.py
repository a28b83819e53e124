"""Timelines of executions against a real Temporal server."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import grpc
import pytest
from temporalio.client import Client, WorkflowFailureError

from services.stigma_api.tests.api_server import Api, refused
from services.stigma_api.tests.event_texts import (
    end,
    lines,
    single_entry,
    start,
    steps,
    timeline_with,
)
from services.stigma_api.tests.fake_workflows import timeline_of
from services.stigma_api.tests.rpc_counter import counted
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
)
from stigma.contracts import tokens
from stigma.contracts.executions import phase_name
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.internal.v1.execution_pb2 import ModelCallResponse
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_api.access.principals import Action, Principal
from stigma_api.diagnosis.timeline import history_window, timelines
from stigma_api.executions.reader import Reader
from stigma_api.kinds import AGENTS, KINDS
from tests.stack.faults import Fail, FaultProxy
from tests.stack.waiting import eventually

Code = grpc.StatusCode


async def test_a_handshake_is_told_from_the_token_to_the_callers_next_step(
    staged_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    started = await start(staged_api, "call: continue call: locally", caller)
    await timeline_with(staged_api, started.id, "DELIVERED")
    await end(client, started.id)
    await client.get_async_activity_handle(task_token=caller.token).complete("x")
    assert await caller.handle.result() == "x"
    found = await timeline_with(staged_api, started.id, "RESUMED")
    assert steps(found) == [
        "TAKEN",
        "ACKNOWLEDGED",
        "PENDING",
        "STARTED",
        "MODEL_CALL",
        "MODEL_CALL",
        "DELIVERED",
        "ENDED",
        "RESUMED",
    ]
    taken, accepted, pending, first, *calls, delivered, ended, resumed = found.entries
    fingerprint = tokens.fingerprint(caller.token)
    assert (found.execution_id, found.phase) == (started.id, "COMPLETED")
    assert (found.definition_id, found.request_id) == ("reviewer@1", started.spec.request_id)
    assert (found.caller.workflow_id, found.caller.activity_id) == (caller.handle.id, "1")
    assert found.usage.input_tokens == 2400
    assert not found.caller_unavailable
    assert not found.truncated
    for each in (taken, pending, delivered, resumed):
        assert each.fingerprint == fingerprint
    for each in (taken, resumed):
        assert (each.workflow_id, each.run_id) == (caller.handle.id, caller.info.workflow_run_id)
    for each in (accepted, pending, first, *calls, delivered, ended):
        assert each.workflow_id == started.id
    assert calls[0].run_id != calls[1].run_id
    assert [call.title for call in calls] == [
        "model call 1, scripted:demo",
        "model call 2, scripted:demo",
    ]
    assert all(call.detail == "1,204 tokens" and call.attempt == 1 for call in calls)
    assert all(call.duration.ToNanoseconds() > 0 and not call.open for call in calls)
    assert taken.title == "wait_for_agent takes its token"
    assert (delivered.title, delivered.failed) == ("delivered", False)
    assert ended.title == "completed"
    assert (resumed.title, resumed.detail) == ("the caller goes on", "with the outcome")
    times = [each.time.ToNanoseconds() for each in found.entries]
    assert times == sorted(times)


async def test_a_call_under_way_shows_its_attempts_and_the_last_failures_class(
    staged_api: Api,
) -> None:
    started = await start(staged_api, "call:RATE_LIMITED")

    async def tried() -> pb.TimelineEntry | None:
        call = single_entry(
            await timeline_with(staged_api, started.id, "MODEL_CALL"), pb.TIMELINE_STEP_MODEL_CALL
        )
        return call if call.attempt == 2 else None

    call = await eventually(tried, what="the second attempt")
    assert call.open
    assert not call.HasField("duration")
    assert call.detail == "last attempt: RATE_LIMITED, attempt 2 follows"
    found = await timeline_of(staged_api, started.id)
    assert not found.HasField("caller")
    assert (found.phase, found.caller_unavailable) == ("RUNNING", "")


async def test_failed_calls_and_a_stop_are_told(staged_api: Api, client: Client) -> None:
    started = await start(staged_api, "call:CONTEXT_LENGTH!final watch call:HOLD")

    async def holds() -> pb.ExecutionTimeline | None:
        found = await timeline_of(staged_api, started.id)
        return found if steps(found).count("MODEL_CALL") == 2 else None

    held = await eventually(holds, what="the second call")
    assert lines(held, pb.TIMELINE_STEP_MODEL_CALL)[0] == (
        "model call 1, scripted:demo; CONTEXT_LENGTH"
    )
    assert lines(held, pb.TIMELINE_STEP_CANCEL_REQUESTED) == ["the caller is gone"]
    cancel = CancelAgentExecutionRequest(id=started.id, reason="enough\nof it" + "!" * 300)
    await staged_api.executions.CancelAgentExecution(cancel)
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(started.id).result()
    found = await timeline_with(staged_api, started.id, "ENDED")
    stopped = lines(found, pb.TIMELINE_STEP_CANCEL_REQUESTED)[1]
    assert stopped.startswith("asked to stop; enough of it!!!")
    assert stopped.endswith("…")
    ended = single_entry(found, pb.TIMELINE_STEP_ENDED)
    assert (ended.title, ended.failed) == ("cancelled", True)
    calls = [each for each in found.entries if each.step == pb.TIMELINE_STEP_MODEL_CALL]
    assert [call.failed for call in calls] == [True, True]
    assert calls[1].detail == "given up"
    assert not calls[1].open


async def test_a_delivery_is_told_with_the_token_that_it_was_for(
    staged_api: Api, callers: Callers
) -> None:
    first = await callers.start()
    fields = {"agent_id": "reviewer", "message": "bound:2 locally", "request_id": first.handle.id}
    started = await staged_api.executions.StartAgent(first.request(**fields))
    second = await callers.start(after=first)
    await staged_api.executions.StartAgent(second.request(**fields))

    async def both() -> list[str]:
        found = (await timeline_of(staged_api, started.id)).entries
        delivered = [each for each in found if each.step == pb.TIMELINE_STEP_DELIVERED]
        return [each.fingerprint for each in delivered] if len(delivered) > 1 else []

    tokens_told = await eventually(both, what="two deliveries")
    assert tokens_told == [tokens.fingerprint(each.token) for each in (first, second)]


async def test_few_are_told_at_a_time_and_others_wait(
    staged_api: Api, temporal_proxy: FaultProxy
) -> None:
    started = await start(staged_api, "")
    paused = temporal_proxy.pause("GetWorkflowExecutionHistoryReverse")
    before = temporal_proxy.counts["GetWorkflowExecutionHistoryReverse"].received
    method = "/stigma.diagnosis.v1.DiagnosisService/GetExecutionTimeline"
    telling = [asyncio.create_task(timeline_of(staged_api, started.id)) for _ in range(12)]

    def all_are_in() -> bool:
        open_calls = staged_api.runtime.metrics.get_sample_value(
            "stigma_rpc_in_flight", {"method": method}
        )
        return open_calls == len(telling)

    def read() -> int:
        return temporal_proxy.counts["GetWorkflowExecutionHistoryReverse"].received - before

    await eventually(all_are_in, what="twelve calls")
    await eventually(lambda: read() >= timelines._MAX_READS, what="as many as may")
    async with refused(Code.NOT_FOUND):
        await timeline_of(staged_api, "agent-unknown")
    assert read() == timelines._MAX_READS
    paused.release()
    assert {told.execution_id for told in await asyncio.gather(*telling)} == {started.id}
    temporal_proxy.clear()


async def test_every_delivery_is_told_with_its_verdict(
    staged_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    words = ("NOT_FOUND", "UNDELIVERABLE", "UNAVAILABLE!final", "BY_ID", "RPCError")
    started = await start(staged_api, " ".join(f"deliver:{word}" for word in words), caller)

    async def retried() -> pb.ExecutionTimeline | None:
        found = await timeline_of(staged_api, started.id)
        return found if found.entries[-1].attempt == 2 else None

    found = await eventually(retried, what="a delivery's second attempt")
    deliveries = [each for each in found.entries if each.step == pb.TIMELINE_STEP_DELIVERED]
    assert [each.title for each in deliveries] == [
        "not delivered",
        "not delivered",
        "not delivered",
        "delivered",
        "delivering",
    ]
    assert [each.failed for each in deliveries] == [False, True, True, False, False]
    assert [each.open for each in deliveries] == [False, False, False, False, True]
    assert [each.detail for each in deliveries] == [
        "this attempt does not wait any more",
        "",
        "UNAVAILABLE",
        "",
        "last attempt: RPCError, attempt 2 follows",
    ]
    fingerprint = tokens.fingerprint(caller.token)
    assert {each.fingerprint for each in deliveries} == {fingerprint}


async def test_code_that_fails_on_this_version_is_told(staged_api: Api, client: Client) -> None:
    started = await start(staged_api, "break")
    failing = single_entry(
        await timeline_with(staged_api, started.id, "TASK_FAILING"), pb.TIMELINE_STEP_TASK_FAILING
    )
    assert failing.attempt > 1
    assert failing.failed
    assert failing.open
    await client.get_workflow_handle(started.id).terminate(reason="a test ends")
    ended = single_entry(
        await timeline_with(staged_api, started.id, "ENDED"), pb.TIMELINE_STEP_ENDED
    )
    assert ended.detail == "TERMINATED: terminated in Temporal: a test ends"


async def test_of_a_long_story_the_oldest_calls_are_left_out(
    staged_api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await start(staged_api, "call: call: call: continue call: call: call:")

    async def all_called() -> pb.ExecutionTimeline | None:
        found = await timeline_of(staged_api, started.id)
        return found if found.usage.model_calls == 6 else None

    whole = await eventually(all_called, what="six model calls")
    assert not whole.truncated
    assert steps(whole) == ["ACKNOWLEDGED", "STARTED", *["MODEL_CALL"] * 6]
    monkeypatch.setattr(timelines, "MAX_CALLS", 2)
    found = await timeline_of(staged_api, started.id)
    assert found.truncated
    assert list(found.entries) == [*whole.entries[:2], *whole.entries[-2:]]
    monkeypatch.undo()
    events = len((await client.get_workflow_handle(started.id).fetch_history()).events)
    for limit in (events - 6, events, events + 6):
        monkeypatch.setattr(history_window, "MAX_EVENTS", limit)
        found = await timeline_of(staged_api, started.id)
        assert found.truncated
        assert list(found.entries[:2]) == list(whole.entries[:2])
        numbers = [each.title for each in found.entries[2:]]
        assert numbers == [each.title for each in whole.entries[-len(numbers) :]]
        assert 2 <= len(numbers) < 6


async def test_of_a_large_story_no_more_is_read_than_is_good(
    staged_api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await start(staged_api, "call: continue call: call: call: call:")

    async def all_called() -> pb.ExecutionTimeline | None:
        found = await timeline_of(staged_api, started.id)
        return found if found.usage.model_calls == 5 else None

    assert not (await eventually(all_called, what="five model calls")).truncated
    await end(client, started.id)
    whole = await timeline_of(staged_api, started.id)
    assert steps(whole) == ["ACKNOWLEDGED", "STARTED", *["MODEL_CALL"] * 5, "ENDED"]
    history = await client.get_workflow_handle(started.id).fetch_history()
    asked = [
        event.event_id
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    newest_two = sum(each.ByteSize() for each in history.events if each.event_id > asked[1])
    monkeypatch.setattr(history_window, "MAX_BYTES", newest_two)
    cut = await timeline_of(staged_api, started.id)
    assert cut.truncated
    # From the end back, and its beginning in any case.
    assert steps(cut) == ["ACKNOWLEDGED", "STARTED", *["MODEL_CALL"] * 2, "ENDED"]
    assert [each.time for each in cut.entries[-3:]] == [e.time for e in whole.entries[-3:]]


async def test_what_is_past_retention_is_left_out(
    staged_api: Api, client: Client, callers: Callers, temporal_proxy: FaultProxy
) -> None:
    caller = await callers.start()
    started = await start(staged_api, "call: continue call:", caller)

    async def both_called() -> pb.ExecutionTimeline | None:
        found = await timeline_of(staged_api, started.id)
        return found if found.usage.model_calls == 2 else None

    whole = await eventually(both_called, what="two model calls")
    first_run = whole.entries[1].run_id.encode()
    for code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT):
        temporal_proxy.inject(
            "GetWorkflowExecutionHistoryReverse", Fail(code), matches=lambda sent: first_run in sent
        )
        found = await timeline_of(staged_api, started.id)
        assert steps(found) == ["TAKEN", "MODEL_CALL"]
        assert found.truncated
        assert found.usage.model_calls == 2
    temporal_proxy.inject("GetWorkflowExecutionHistoryReverse", Fail(Code.PERMISSION_DENIED))
    async with refused(Code.INTERNAL):
        await timeline_of(staged_api, started.id)


async def test_a_workflow_execution_shows_the_engines_run(staged_api: Api, client: Client) -> None:
    executions = WorkflowExecutionServiceStub(staged_api.channel)
    documents = {"completes": "", "fails": "communication"}
    for document, reason in documents.items():
        request = StartWorkflowRequest(spec=WorkflowSpec(document=document), request_id=document)
        started = await executions.StartWorkflow(request)
        found = await timeline_with(staged_api, started.id, "ENDED")
        assert steps(found) == ["ACKNOWLEDGED", "STARTED", "ENGINE_RUN", "ENDED"]
        run = found.entries[2]
        assert (run.title, run.detail) == ("the engine runs staged-document", reason)
        assert run.workflow_id == f"run-{started.id.partition('-')[2]}"
        assert run.run_id
        assert run.failed == bool(reason)
        assert run.HasField("duration")
        assert not found.HasField("usage")
        assert (found.definition_id, found.phase) == ("", "FAILED" if reason else "COMPLETED")


async def test_an_engines_run_that_is_terminated_is_told(staged_api: Api, client: Client) -> None:
    executions = WorkflowExecutionServiceStub(staged_api.channel)
    request = StartWorkflowRequest(spec=WorkflowSpec(document="retries"), request_id="terminated")
    started = await executions.StartWorkflow(request)

    async def runs() -> pb.TimelineEntry | None:
        found = single_entry(
            await timeline_with(staged_api, started.id, "ENGINE_RUN"), pb.TIMELINE_STEP_ENGINE_RUN
        )
        return found if found.run_id else None

    run = await eventually(runs, what="the engine's run")
    assert run.open
    await client.get_workflow_handle(run.workflow_id).terminate()
    found = await timeline_with(staged_api, started.id, "ENDED")
    assert single_entry(found, pb.TIMELINE_STEP_ENGINE_RUN).detail == "terminated"


async def test_what_is_none_is_not_found(staged_api: Api, client: Client, callers: Callers) -> None:
    caller = await callers.start()
    for unknown in ("", "agent-none", "x" * 1001, caller.handle.id):
        async with refused(Code.NOT_FOUND):
            await timeline_of(staged_api, unknown)


async def test_an_execution_that_nobody_took_is_pending(api: Api) -> None:
    started = await start(api, "m")
    found = await timeline_of(api, started.id)
    assert (found.phase, steps(found)) == ("PENDING", ["ACKNOWLEDGED"])


async def test_whether_a_worker_took_it_is_judged_alike_everywhere(
    api: Api, client: Client
) -> None:
    waits = (await start(api, "m")).id
    delayed = f"agent-{uuid.uuid4().hex}"
    await client.start_workflow(
        "AgentWorkflow",
        id=delayed,
        task_queue=api.queues.orchestrator,
        start_delay=timedelta(hours=1),
    )
    for execution_id, phase in ((waits, "PENDING"), (delayed, "RUNNING")):
        subject = await Reader[Any](client, *KINDS).find(execution_id)
        found = await Reader(client, AGENTS).find(execution_id)
        assert subject is not None
        assert found is not None
        assert subject.phase == phase_name(found.execution) == phase


async def test_a_long_story_is_told_in_turns_with_others(staged_api: Api, client: Client) -> None:
    calls = 16
    started = await start(staged_api, "call: " * calls)
    await end(client, started.id)
    counting, decoded = counted(client)
    everybody = Principal(name="root", actions=frozenset({Action.ADMIN}))
    async with decoded.beside_somebody():
        found = await timelines.Timelines(counting).get_visible(everybody, started.id)
    assert found.usage.model_calls == calls
    assert decoded.of(ModelCallResponse) == calls
    assert decoded.most_in_one_turn < calls / 2
