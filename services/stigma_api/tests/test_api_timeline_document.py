"""The part of a timeline that is the engine's run of a document."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api
from services.stigma_api.tests.event_texts import steps, timeline_with
from services.stigma_api.tests.fake_workflows import timeline_of
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_api.diagnosis.timeline import history_window
from tests.stack.waiting import eventually


async def test_a_workflow_execution_shows_the_calls_of_its_document(
    staged_api: Api, client: Client
) -> None:
    executions = WorkflowExecutionServiceStub(staged_api.channel)
    request = StartWorkflowRequest(spec=WorkflowSpec(document="calls"), request_id="calls")
    started = await executions.StartWorkflow(request)

    async def calls() -> list[pb.TimelineEntry] | None:
        found = await timeline_of(staged_api, started.id)
        calls = [each for each in found.entries if each.step == pb.TIMELINE_STEP_DOCUMENT_CALL]
        return calls if calls and calls[-1].detail.startswith("last attempt") else None

    called = await eventually(calls, what="the call that is tried again")
    assert [(call.title, call.detail, call.failed, call.open) for call in called] == [
        ("gRPC call /do/0/ask", "", False, False),
        ("OpenAPI call /do/1/order", "timeout, status 408", True, False),
        ("call of agent reviewer /do/2/review", "execution agent-of-a-document", False, False),
        ("HTTP call /do/0/fetch", "last attempt: communication, attempt 2 follows", False, True),
    ]
    assert all(call.attempt == 1 and call.HasField("duration") for call in called[:3])
    # They are of two runs, the second of which continues the first.
    run_id = f"run-{started.id.partition('-')[2]}"
    assert {call.workflow_id for call in called} == {run_id}
    assert called[2].run_id != called[3].run_id
    found = await timeline_of(staged_api, started.id)
    timers = [each for each in found.entries if each.step == pb.TIMELINE_STEP_DOCUMENT_TIMER]
    assert [(timer.open, timer.HasField("duration")) for timer in timers] == [
        (False, True),
        (False, True),
        (True, False),
    ]
    fires = timers[2].time.ToDatetime() + timedelta(hours=1)
    assert timers[2].title == f"timer up to {fires:%Y-%m-%dT%H:%M:%S}Z"
    await client.get_workflow_handle(run_id).terminate()
    found = await timeline_with(staged_api, started.id, "ENDED")
    last = [each for each in found.entries if each.step == pb.TIMELINE_STEP_DOCUMENT_CALL][-1]
    assert (last.title, last.detail, last.failed) == ("HTTP call /do/0/fetch", "given up", True)


async def test_the_history_of_a_document_may_be_cut_anywhere(
    staged_api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = WorkflowExecutionServiceStub(staged_api.channel)
    request = StartWorkflowRequest(spec=WorkflowSpec(document="calls"), request_id="cut")
    started = await executions.StartWorkflow(request)

    async def last_call() -> pb.ExecutionTimeline | None:
        found = await timeline_of(staged_api, started.id)
        return found if "HTTP call /do/0/fetch" in {each.title for each in found.entries} else None

    whole = await eventually(last_call, what="the call of the second run")
    for limit in range(6, 26):
        monkeypatch.setattr(history_window, "MAX_EVENTS", limit)
        found = await timeline_of(staged_api, started.id)
        assert {each.title for each in found.entries} <= {each.title for each in whole.entries}
        assert found.truncated or steps(found) == steps(whole)
    await client.get_workflow_handle(f"run-{started.id.partition('-')[2]}").terminate()
