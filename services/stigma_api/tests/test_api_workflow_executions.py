"""WorkflowExecutionService against a real Temporal server: the rules of agents hold here too."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowFailureError

from services.stigma_api.tests.api_server import Api, refused, running_api
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_service_pb2 import (
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CANCELLED,
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_TERMINATED,
    FAILURE_REASON_WORKFLOW_ERROR,
)
from stigma.contracts import ids, search_attributes, tokens
from stigma.contracts.executions import Kind
from stigma.internal.v1.execution_pb2 import Bind, WorkflowExecutionInput
from stigma.workflow.v1.workflow_execution_pb2 import (
    CALLBACK_PAYLOAD_OUTPUT,
    WORKFLOW_EXECUTION_PHASE_CANCELLED,
    WORKFLOW_EXECUTION_PHASE_COMPLETED,
    WORKFLOW_EXECUTION_PHASE_FAILED,
    WORKFLOW_EXECUTION_PHASE_PENDING,
    WORKFLOW_EXECUTION_PHASE_RUNNING,
    WORKFLOW_EXECUTION_PHASE_TIMED_OUT,
    WorkflowExecution,
)
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    WORKFLOW_EXECUTION_VIEW_BASIC,
    WORKFLOW_EXECUTION_VIEW_FULL,
    CancelWorkflowExecutionRequest,
    GetWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    StartWorkflowRequest,
    WatchWorkflowExecutionRequest,
    WatchWorkflowExecutionResponse,
)
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowConfig, WorkflowLimits, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import (
    ApplyWorkflowRequest,
    DeleteWorkflowRequest,
    GetWorkflowRequest,
    ListWorkflowsRequest,
)
from stigma_api.access.principals import Action, Principal, Principals
from stigma_api.temporal.calls import TEMPORAL_TIMEOUT
from tests.stack.waiting import eventually

Code = grpc.StatusCode
HOLD = WorkflowSpec(document="hold", description="Waits.")


def new_id() -> str:
    return uuid.uuid4().hex


async def start(api: Api, document: str = "hold", **fields: Any) -> WorkflowExecution:
    started: WorkflowExecution = await api.workflow_executions.StartWorkflow(
        StartWorkflowRequest(spec=WorkflowSpec(document=document), **fields)
    )
    return started


async def get(api: Api, execution_id: str, **fields: Any) -> WorkflowExecution:
    got: WorkflowExecution = await api.workflow_executions.GetWorkflowExecution(
        GetWorkflowExecutionRequest(id=execution_id, **fields)
    )
    return got


async def cancel(api: Api, **fields: Any) -> WorkflowExecution:
    cancelled: WorkflowExecution = await api.workflow_executions.CancelWorkflowExecution(
        CancelWorkflowExecutionRequest(**fields)
    )
    return cancelled


async def watched(
    api: Api, execution_id: str, cursor: str = ""
) -> list[WatchWorkflowExecutionResponse]:
    request = WatchWorkflowExecutionRequest(id=execution_id, cursor=cursor)
    return [event async for event in api.workflow_executions.WatchWorkflowExecution(request)]


async def closed(api: Api, client: Client, execution_id: str) -> WorkflowExecution:
    with contextlib.suppress(WorkflowFailureError):
        await client.get_workflow_handle(execution_id).result()
    return await get(api, execution_id)


async def test_a_registered_workflow_is_started_as_resolved(
    staffed_api: Api, callers: Callers, client: Client
) -> None:
    """With a token: one signal-with-start, and nothing private beside the history."""
    limit = WorkflowLimits(timeout=Duration(seconds=7200))
    spec = WorkflowSpec(document="hold", description="Waits.", limits=limit)
    workflow = Workflow(name="billing", spec=spec)
    applied = await staffed_api.workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))
    caller = await callers.start()
    request = caller.request(
        StartWorkflowRequest,
        workflow_id="billing",
        input_json='{"n": 9007199254740993}',
        session_id="s-1",
        labels={"team": "core"},
        request_id=new_id(),
        callback_payload=CALLBACK_PAYLOAD_OUTPUT,
    )
    with capture_logs() as events:
        started = await staffed_api.workflow_executions.StartWorkflow(request)

    resolved = f"billing@{applied.version}"
    assert started.id == ids.execution_id("local", "default", request.request_id, Kind.WORKFLOW)
    assert started.status.phase == WORKFLOW_EXECUTION_PHASE_PENDING
    assert started.spec.workflow_id == resolved
    assert started.spec.workflow.description == "Waits."
    assert started.spec.workflow.document == ""
    assert started.spec.input_json == request.input_json
    assert started.status.callback.fingerprint == tokens.fingerprint(caller.token)
    lasts = started.status.deadline.ToDatetime() - started.status.start_time.ToDatetime()
    assert abs(lasts - timedelta(hours=2)) < timedelta(seconds=2)

    handle = client.get_workflow_handle(started.id)
    [first, second, *_] = (await handle.fetch_history()).events
    given = first.workflow_execution_started_event_attributes.input.payloads
    [read] = await client.data_converter.decode(given, [WorkflowExecutionInput])
    assert read.spec.workflow == spec
    assert read.spec.input_json == request.input_json
    assert read.spec.callback_payload == CALLBACK_PAYLOAD_OUTPUT
    assert read.spec.callback_token == b""
    signal = second.workflow_execution_signaled_event_attributes.input.payloads
    [bind] = await client.data_converter.decode(signal, [Bind])
    assert (bind.token, bind.spec_digest) == (caller.token, read.spec_digest)

    described = await handle.describe()
    assert caller.token not in described.raw_description.SerializeToString()
    found = described.typed_search_attributes
    assert found[search_attributes.WORKFLOW] == "billing"
    assert found[search_attributes.CALLBACK] == "WAITING"
    assert found[search_attributes.LABELS] == ["team=core"]
    assert found.get(search_attributes.AGENT) is None
    late = found[search_attributes.WARN_TIME] - started.status.start_time.ToDatetime(UTC)
    assert abs(late - timedelta(minutes=96)) < timedelta(seconds=5)
    by_name = {event["event"]: event for event in events}
    assert by_name["request_received"]["workflow"] == "billing"
    assert by_name["workflow_started"]["workflow"] == resolved


async def test_the_tightest_limit_is_the_deadline(api: Api) -> None:
    spec = WorkflowSpec(document="echo", limits=WorkflowLimits(timeout=Duration(seconds=7200)))
    for config, expected in ((None, 7200), (WorkflowConfig(timeout=Duration(seconds=300)), 300)):
        request = StartWorkflowRequest(spec=spec, config=config)
        status = (await api.workflow_executions.StartWorkflow(request)).status
        lasts = status.deadline.ToDatetime() - status.start_time.ToDatetime()
        assert abs(lasts - timedelta(seconds=expected)) < timedelta(seconds=2)
    untimed = (await start(api)).status
    lasts = untimed.deadline.ToDatetime() - untimed.start_time.ToDatetime()
    assert abs(lasts - timedelta(hours=24)) < timedelta(seconds=2)


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({}, ["workflow_id"]),
        ({"workflow_id": "a", "spec": HOLD}, ["workflow_id"]),
        ({"workflow_id": "Bad"}, ["workflow_id"]),
        ({"spec": WorkflowSpec()}, ["spec.document"]),
        ({"spec": HOLD, "input_json": "{"}, ["input_json"]),
        ({"spec": HOLD, "config": WorkflowConfig(timeout=Duration())}, ["config.timeout"]),
        ({"spec": HOLD, "callback_token": b"\xff"}, ["callback_token"]),
        (
            {
                "spec": WorkflowSpec(
                    document="hold", limits=WorkflowLimits(timeout=Duration(seconds=60))
                ),
                "config": WorkflowConfig(timeout=Duration(seconds=61)),
            },
            ["config.timeout"],
        ),
    ],
)
async def test_a_start_that_breaks_a_rule_names_its_field(
    api: Api, wrong: dict[str, Any], fields: list[str]
) -> None:
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.workflow_executions.StartWorkflow(StartWorkflowRequest(**wrong))
    assert refusal.fields == fields


async def test_a_replay_is_the_same_execution_and_binds_the_new_attempt(
    api: Api, callers: Callers, client: Client
) -> None:
    first = await callers.start()
    fields: dict[str, Any] = {"spec": HOLD, "input_json": "1", "request_id": new_id()}
    started = await api.workflow_executions.StartWorkflow(
        first.request(StartWorkflowRequest, **fields)
    )
    second = await callers.start(after=first)
    again = second.request(StartWorkflowRequest, **fields)
    assert (await api.workflow_executions.StartWorkflow(again)).id == started.id
    history = await client.get_workflow_handle(started.id).fetch_history()
    binds = [
        e for e in history.events if e.HasField("workflow_execution_signaled_event_attributes")
    ]
    assert len(binds) == 2

    again.input_json = "2"
    async with refused(Code.ALREADY_EXISTS) as refusal:
        await api.workflow_executions.StartWorkflow(again)
    assert f"workflow execution {started.id}" in refusal.message
    # An agent's execution of the same request id is another one.
    agent = StartAgentRequest(agent_id="reviewer", request_id=fields["request_id"])
    other = await api.executions.StartAgent(agent)
    assert other.id.partition("-")[2] == started.id.partition("-")[2]


async def test_a_resolved_token_is_refused(api: Api, callers: Callers, client: Client) -> None:
    caller = await callers.start()
    await client.get_async_activity_handle(task_token=caller.token).complete("by somebody else")
    await caller.handle.result()
    async with refused(Code.FAILED_PRECONDITION) as refusal:
        await api.workflow_executions.StartWorkflow(caller.request(StartWorkflowRequest, spec=HOLD))
    assert refusal.reason == "CALLER_GONE"


async def test_nobody_at_work_is_pending(api: Api) -> None:
    started = await start(api)
    got = await get(api, started.id)
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_PENDING
    assert got.spec.principal == "local"


async def test_a_running_execution_names_its_run_and_is_cancelled(
    staffed_api: Api, client: Client
) -> None:
    started = await start(staffed_api, input_json='"private"', request_id=new_id())

    async def at_work() -> WorkflowExecution | None:
        got = await get(staffed_api, started.id)
        return got if got.status.run.run_id else None

    running = await eventually(at_work, what="the engine runs the document")
    assert running is not None
    assert running.status.phase == WORKFLOW_EXECUTION_PHASE_RUNNING
    assert running.spec.input_json == ""
    run_id = "run-" + started.id.removeprefix("workflow-")
    assert running.status.run.workflow_id == run_id

    answer = await cancel(staffed_api, request_id=started.spec.request_id, reason="not needed")
    assert answer.id == started.id
    got = await closed(staffed_api, client, started.id)
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_CANCELLED
    assert got.status.failure.reason == FAILURE_REASON_CANCELLED
    assert got.status.failure.message == "as asked"
    # A terminal one is returned as it is.
    again = await cancel(staffed_api, id=started.id)
    assert again.status.phase == WORKFLOW_EXECUTION_PHASE_CANCELLED

    events = await watched(staffed_api, started.id)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "run_started", "cancel_requested", "ended"]
    assert events[0].started.execution.id == started.id
    assert events[1].run_started.run == running.status.run
    assert events[2].cancel_requested.reason == "not needed"
    assert events[3].ended.execution == got
    for index, event in enumerate(events):
        assert await watched(staffed_api, started.id, event.cursor) == events[index + 1 :]


async def test_a_completed_execution_has_its_output(staffed_api: Api, client: Client) -> None:
    request = StartWorkflowRequest(
        spec=WorkflowSpec(document="echo"), input_json='{"a": [1, "ü"]}', request_id=new_id()
    )
    started = await staffed_api.workflow_executions.StartWorkflow(request)
    got = await closed(staffed_api, client, started.id)
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_COMPLETED
    assert got.status.output.json == '{"a": [1, "\\u00fc"]}'
    assert got.status.HasField("end_time")
    assert await staffed_api.workflow_executions.StartWorkflow(request) == got


async def test_a_failed_execution_has_its_reason_and_error(
    staffed_api: Api, client: Client
) -> None:
    got = await closed(staffed_api, client, (await start(staffed_api, "fail")).id)
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_FAILED
    assert got.status.failure.reason == FAILURE_REASON_WORKFLOW_ERROR
    assert got.status.error_json == '{"status": 500}'


async def test_a_workflow_that_breaks_says_nothing_of_its_text(
    staffed_api: Api, client: Client
) -> None:
    got = await closed(staffed_api, client, (await start(staffed_api, "break")).id)
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_FAILED
    assert got.status.failure.reason == FAILURE_REASON_INTERNAL
    assert "secret" not in got.status.failure.message


async def test_what_temporal_ended_has_an_outcome(api: Api, client: Client) -> None:
    terminated = await start(api)
    await client.get_workflow_handle(terminated.id).terminate(reason="by hand")
    got = await get(api, terminated.id)
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_FAILED
    assert got.status.failure.reason == FAILURE_REASON_TERMINATED

    # Stigma sets no Temporal timeout; whoever starts the workflow otherwise may.
    timed_out = await client.start_workflow(
        "WorkflowExecutionWorkflow",
        id=f"workflow-{new_id()}",
        task_queue=api.queues.orchestrator,
        memo={"execution": terminated},
        run_timeout=timedelta(milliseconds=10),
    )
    got = await closed(api, client, timed_out.id)
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_TIMED_OUT
    assert got.status.failure.reason == FAILURE_REASON_TERMINATED


async def test_in_full_it_comes_with_its_input_and_document(
    staffed_api: Api, callers: Callers, client: Client
) -> None:
    """As it was started with them, and never with the token."""
    limits = WorkflowLimits(timeout=Duration(seconds=7200))
    workflow = Workflow(name="told", spec=WorkflowSpec(document="echo", limits=limits))
    await staffed_api.workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))
    caller = await callers.start()
    request = caller.request(
        StartWorkflowRequest,
        workflow_id="told",
        input_json='{"n": 9007199254740993}',
        labels={"team": "core"},
        request_id=new_id(),
    )
    started = await staffed_api.workflow_executions.StartWorkflow(request)
    await closed(staffed_api, client, started.id)
    full = await get(staffed_api, started.id, view=WORKFLOW_EXECUTION_VIEW_FULL)
    assert full.spec.workflow == workflow.spec
    assert full.spec.input_json == request.input_json
    assert full.spec.callback_token == b""
    assert caller.token not in full.SerializeToString()

    basic = await get(staffed_api, started.id, view=WORKFLOW_EXECUTION_VIEW_BASIC)
    assert basic == await get(staffed_api, started.id)
    assert (basic.spec.workflow.document, basic.spec.input_json) == ("", "")
    # Nothing else tells them apart.
    basic.spec.workflow.document = "echo"
    basic.spec.input_json = request.input_json
    assert basic == full


async def test_in_full_a_running_execution_also_names_its_run(staffed_api: Api) -> None:
    started = await start(staffed_api, input_json='"private"')

    async def at_work() -> WorkflowExecution | None:
        got = await get(staffed_api, started.id, view=WORKFLOW_EXECUTION_VIEW_FULL)
        return got if got.status.run.run_id else None

    running = await eventually(at_work, what="the engine runs the document")
    assert running is not None
    assert running.status.phase == WORKFLOW_EXECUTION_PHASE_RUNNING
    assert (running.spec.workflow.document, running.spec.input_json) == ("hold", '"private"')


async def test_in_full_without_workers(api: Api, client: Client) -> None:
    started = await start(api, input_json="[1]")
    pending = await get(api, started.id, view=WORKFLOW_EXECUTION_VIEW_FULL)
    assert pending.status.phase == WORKFLOW_EXECUTION_PHASE_PENDING
    assert (pending.spec.workflow.document, pending.spec.input_json) == ("hold", "[1]")

    # Whoever starts the workflow otherwise may give it nothing.
    bare = await client.start_workflow(
        "WorkflowExecutionWorkflow",
        id=f"workflow-{new_id()}",
        task_queue=api.queues.orchestrator,
        memo={"execution": started},
    )
    got = await get(api, bare.id, view=WORKFLOW_EXECUTION_VIEW_FULL)
    assert got.id == bare.id
    assert got.spec.principal == started.spec.principal


async def test_list_filters_by_workflow_and_pages(staffed_api: Api, client: Client) -> None:
    session = new_id()
    workflow = Workflow(name="listed", spec=HOLD)
    await staffed_api.workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))
    named = await staffed_api.workflow_executions.StartWorkflow(
        StartWorkflowRequest(workflow_id="listed@1", session_id=session)
    )
    inline = await start(staffed_api, "fail", session_id=session)
    done = await start(staffed_api, "echo", session_id=session)
    agent = StartAgentRequest(agent_id="reviewer", session_id=session)
    await staffed_api.executions.StartAgent(agent)

    async def page(query: str, **fields: Any) -> Any:
        request = ListWorkflowExecutionsRequest(filter=f'session = "{session}"{query}', **fields)
        return await staffed_api.workflow_executions.ListWorkflowExecutions(request)

    async def listed(query: str) -> set[str]:
        return {execution.id for execution in (await page(query)).executions}

    for query, expected in {
        "": {named.id, inline.id, done.id},
        ' AND workflow = "listed"': {named.id},
        ' AND workflow = "inline"': {inline.id, done.id},
        " AND phase = FAILED": {inline.id},
        " AND phase = COMPLETED": {done.id},
        " AND phase = RUNNING": {named.id},
    }.items():

        async def seen(wanted: str = query, ids: set[str] = expected) -> bool:
            return await listed(wanted) == ids

        await eventually(seen, what=f"the list {query}")
    [shown] = (await page(" AND phase = COMPLETED")).executions
    assert shown.status.phase == WORKFLOW_EXECUTION_PHASE_COMPLETED
    assert not shown.status.HasField("output")
    first = await page("", page_size=2)
    rest = await page("", page_size=2, page_token=first.next_page_token)
    assert len({execution.id for execution in [*first.executions, *rest.executions]}) == 3
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await page(' AND agent = "reviewer"')
    assert refusal.fields == ["filter"]
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        wrong = ListAgentExecutionsRequest(filter='workflow = "listed"')
        await staffed_api.executions.ListAgentExecutions(wrong)
    assert refusal.message.startswith("filter: a field is agent,")


async def test_an_id_is_of_its_kind(api: Api) -> None:
    workflow = await start(api)
    agent = await api.executions.StartAgent(StartAgentRequest(agent_id="reviewer"))
    async with refused(Code.NOT_FOUND) as refusal:
        await get(api, agent.id)
    assert refusal.message == f"workflow execution {agent.id} not found"
    async with refused(Code.NOT_FOUND):
        await cancel(api, id=agent.id)
    async with refused(Code.NOT_FOUND):
        await watched(api, agent.id)
    async with refused(Code.NOT_FOUND):
        await api.executions.GetAgentExecution(GetAgentExecutionRequest(id=workflow.id))
    async with refused(Code.NOT_FOUND):
        request = WatchAgentExecutionRequest(id=workflow.id)
        await api.executions.WatchAgentExecution(request).read()


async def test_a_stream_tells_what_a_worker_never_saw(
    api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    started = await api.workflow_executions.StartWorkflow(
        caller.request(StartWorkflowRequest, spec=HOLD)
    )
    await client.get_workflow_handle(started.id).terminate()
    events = await watched(api, started.id)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "callback_bound", "ended"]
    assert events[1].callback_bound.fingerprint == tokens.fingerprint(caller.token)
    assert all(caller.token not in event.SerializeToString() for event in events)


def known(name: str, **permissions: Any) -> Principal:
    digest = hashlib.sha256(f"{name}-key".encode()).hexdigest()
    return Principal(name=name, key_sha256=[digest], **permissions)


def key(name: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {name}-key")]}


async def test_principals_have_their_own(temporal_server: Any, tmp_path: Path) -> None:
    principals = Principals(
        [
            known("root", actions=frozenset({Action.ADMIN})),
            known("alice", workflows=["billing"]),
            known("bob"),
            known("nobody", actions=frozenset()),
        ]
    )
    async with running_api(temporal_server.address, tmp_path, principals=principals) as api:
        executions, workflows = api.workflow_executions, api.workflows
        for method, request, permission in [
            (workflows.ApplyWorkflow, ApplyWorkflowRequest(), "workflows.apply"),
            (workflows.GetWorkflow, GetWorkflowRequest(), "workflows.read"),
            (workflows.ListWorkflows, ListWorkflowsRequest(), "workflows.read"),
            (workflows.DeleteWorkflow, DeleteWorkflowRequest(), "workflows.delete"),
            (executions.StartWorkflow, StartWorkflowRequest(), "executions.start"),
            (executions.GetWorkflowExecution, GetWorkflowExecutionRequest(), "executions.read"),
            (executions.ListWorkflowExecutions, ListWorkflowExecutionsRequest(), "executions.read"),
            (
                executions.CancelWorkflowExecution,
                CancelWorkflowExecutionRequest(),
                "executions.cancel",
            ),
        ]:
            async with refused(Code.PERMISSION_DENIED) as refusal:
                await method(request, **key("nobody"))
            assert permission in refusal.message
        async with refused(Code.PERMISSION_DENIED) as refusal:
            await executions.StartWorkflow(StartWorkflowRequest(spec=HOLD), **key("alice"))
        assert "workflows.inline" in refusal.message
        async with refused(Code.PERMISSION_DENIED) as refusal:
            request = StartWorkflowRequest(workflow_id="payroll", callback_token=b"no token")
            await executions.StartWorkflow(request, **key("alice"))
        assert refusal.message == "principal alice may not use workflow payroll"
        async with refused(Code.NOT_FOUND) as refusal:
            await executions.StartWorkflow(
                StartWorkflowRequest(workflow_id="billing"), **key("alice")
            )
        assert refusal.message == "workflow billing not found"

        inline = StartWorkflowRequest(spec=HOLD, request_id=uuid.uuid4().hex)
        started = await executions.StartWorkflow(inline, **key("root"))
        async with refused(Code.NOT_FOUND):
            request = GetWorkflowExecutionRequest(id=started.id)
            await executions.GetWorkflowExecution(request, **key("bob"))
        async with refused(Code.NOT_FOUND):
            request.view = WORKFLOW_EXECUTION_VIEW_FULL
            await executions.GetWorkflowExecution(request, **key("bob"))
        full = await executions.GetWorkflowExecution(request, **key("root"))
        assert full.spec.workflow == HOLD
        listed = ListWorkflowExecutionsRequest()

        async def seen() -> bool:
            page = await executions.ListWorkflowExecutions(listed, **key("root"))
            return [execution.id for execution in page.executions] == [started.id]

        await eventually(seen, what="it is listed")
        page = await executions.ListWorkflowExecutions(listed, **key("bob"))
        assert not page.executions


async def test_without_workers_it_is_answered_soon(api: Api, client: Client) -> None:
    started = await start(api)
    await client.get_workflow_handle(started.id).signal("bind", args=[])
    await client.get_workflow_handle(started.id).cancel()
    begin = datetime.now(UTC)
    got = await get(api, started.id)
    assert datetime.now(UTC) - begin < TEMPORAL_TIMEOUT
    assert got.status.phase == WORKFLOW_EXECUTION_PHASE_RUNNING
