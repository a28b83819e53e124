"""StartAgent against a real Temporal server and real pending activities."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from services.stigma_api.tests.api_server import SCRIPTED, Api, refused, requests_to_temporal
from services.stigma_api.tests.fake_executions import FakeAgent
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_PENDING,
    CALLBACK_PAYLOAD_OUTPUT,
    CALLBACK_STATE_WAITING,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    GetAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentLimits, AgentSpec
from stigma.agent.v1.agent_service_pb2 import DeleteAgentRequest
from stigma.contracts import ids, search_attributes, tokens
from stigma.contracts.payloads import json_payload
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Bind
from tests.stack.waiting import eventually

Code = grpc.StatusCode


def new_id() -> str:
    return uuid.uuid4().hex


async def started_events(
    client: Client, execution_id: str
) -> tuple[AgentWorkflowInput, list[Bind]]:
    """What the workflow was started with, and every bind it got."""
    start, binds = AgentWorkflowInput(), []
    async for event in client.get_workflow_handle(execution_id).fetch_history_events():
        match event.WhichOneof("attributes"):
            case "workflow_execution_started_event_attributes":
                content = event.workflow_execution_started_event_attributes.input.payloads
                [start] = await client.data_converter.decode(content, [AgentWorkflowInput])
            case "workflow_execution_signaled_event_attributes":
                content = event.workflow_execution_signaled_event_attributes.input.payloads
                binds += await client.data_converter.decode(content, [Bind])
    return start, binds


async def is_started(client: Client, execution_id: str) -> bool:
    return [w async for w in client.list_workflows(f"WorkflowId = '{execution_id}'")] != []


async def test_a_start_without_a_token_is_a_plain_start(api: Api, client: Client) -> None:
    request = StartAgentRequest(
        agent_id="reviewer",
        message="look",
        input_json='{"n": 9007199254740993}',
        env={"CITY": "Rome"},
        labels={"team": "core"},
        request_id=new_id(),
    )
    before = datetime.now(UTC)
    execution = await api.executions.StartAgent(request)

    assert execution.id == ids.execution_id("local", "default", request.request_id)
    assert execution.status.phase == AGENT_EXECUTION_PHASE_PENDING
    assert execution.spec.agent_id == "reviewer@1"
    assert execution.spec.input_json == request.input_json
    assert not execution.status.HasField("callback")
    deadline = execution.status.deadline.ToDatetime(UTC)
    assert timedelta(hours=23, minutes=59) < deadline - before < timedelta(hours=24, minutes=1)

    start, binds = await started_events(client, execution.id)
    assert binds == []
    assert start.execution_id == execution.id
    assert start.spec.message == "look"
    assert start.spec.agent == SCRIPTED
    assert dict(start.spec.env) == {"CITY": "Rome"}
    assert start.spec.principal == "local"
    assert len(start.spec_digest) == 32


async def test_lists_of_the_agent_are_answered_once(api: Api) -> None:
    spec = AgentSpec(model=SCRIPTED.model, allowed_models=["scripted:other"], env=["CITY"])
    execution = await api.executions.StartAgent(StartAgentRequest(spec=spec, message="look"))
    assert execution.spec.agent.allowed_models == ["scripted:other"]
    assert execution.spec.agent.env == ["CITY"]


async def test_the_token_goes_into_history_with_the_start_and_nowhere_else(
    api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    deadline = datetime.now(UTC) + timedelta(hours=1)
    request = caller.request(
        agent_id="reviewer",
        message="a private prompt",
        request_id=new_id(),
        callback_payload=CALLBACK_PAYLOAD_OUTPUT,
        callback_deadline=deadline,
    )
    request.caller.heartbeat_timeout.FromTimedelta(timedelta(seconds=60))
    with capture_logs() as events:
        execution = await api.executions.StartAgent(request)

    start, [bind] = await started_events(client, execution.id)
    assert bind.token == caller.token
    assert bind.spec_digest == start.spec_digest
    assert bind.caller == request.caller
    assert bind.deadline == request.callback_deadline
    assert start.spec.callback_token == b""
    assert start.spec.callback_payload == CALLBACK_PAYLOAD_OUTPUT
    # The outcome reaches the caller before the caller's own timeout.
    assert start.deadline.ToDatetime(UTC) == deadline - timedelta(seconds=30)

    description = await client.get_workflow_handle(execution.id).describe()
    got = await api.executions.GetAgentExecution(GetAgentExecutionRequest(id=execution.id))
    fingerprint = tokens.fingerprint(caller.token)
    assert execution.status.callback.fingerprint == fingerprint
    assert execution.status.callback.state == CALLBACK_STATE_WAITING
    for shown in (execution, got):
        assert shown.spec.callback_token == b""
        assert caller.token not in shown.SerializeToString()
    assert caller.token not in description.raw_description.SerializeToString()
    said = repr(events)
    assert repr(caller.token)[2:-1] not in said
    assert "a private prompt" not in said
    by_name = {event["event"]: event for event in events}
    assert by_name["request_received"]["callback_fingerprint"] == fingerprint
    assert by_name["request_received"]["token_length"] == len(caller.token)
    assert by_name["workflow_started"]["execution_id"] == execution.id


async def test_what_operators_search_for_is_said_at_the_start(
    api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    deadline = datetime.now(UTC) + timedelta(minutes=100, seconds=30)
    waited_for = await api.executions.StartAgent(
        caller.request(agent_id="reviewer", callback_deadline=deadline)
    )
    inline = await api.executions.StartAgent(StartAgentRequest(spec=SCRIPTED))

    described = await client.get_workflow_handle(waited_for.id).describe()
    found = described.typed_search_attributes
    assert found[search_attributes.AGENT] == "reviewer"
    assert found[search_attributes.CALLBACK] == "WAITING"
    accepted = waited_for.status.start_time.ToDatetime(UTC)
    assert abs(found[search_attributes.START_TIME] - accepted) < timedelta(milliseconds=1)
    late = found[search_attributes.WARN_TIME] - accepted
    lasts = waited_for.status.deadline.ToDatetime(UTC) - accepted
    assert abs(late - 0.8 * lasts) < timedelta(seconds=1)
    described = await client.get_workflow_handle(inline.id).describe()
    found = described.typed_search_attributes
    assert found[search_attributes.AGENT] == "inline"
    assert found.get(search_attributes.CALLBACK) is None
    assert found.get(search_attributes.WARN_TIME) is not None


async def test_an_acknowledgement_costs_one_heartbeat_and_one_signal_with_start(
    api: Api, callers: Callers
) -> None:
    caller = await callers.start()
    await api.executions.StartAgent(caller.request(agent_id="reviewer"))  # what is read once
    before = await requests_to_temporal(api)
    for n in range(3):
        await api.executions.StartAgent(
            caller.request(agent_id="reviewer", request_id=f"{new_id()}-{n}")
        )
    cost = await requests_to_temporal(api) - before
    for of_readiness in ("GetSystemInfo", "ListSearchAttributes", "DescribeNamespace"):
        cost.pop(of_readiness, None)
    assert cost == {"RecordActivityTaskHeartbeat": 3, "SignalWithStartWorkflowExecution": 3}


@pytest.mark.parametrize("of_document", [True, False])
async def test_the_heartbeat_for_a_document_names_the_execution(
    api: Api, callers: Callers, of_document: bool
) -> None:
    """The details of another caller are its own."""
    caller = await callers.start(workflow_id=f"run-{new_id()}" if of_document else "")
    execution = await api.executions.StartAgent(caller.request(agent_id="reviewer"))
    [pending] = (await caller.handle.describe()).raw_description.pending_activities
    named = [json_payload(execution.id)] if of_document else []
    assert list(pending.heartbeat_details.payloads) == named


async def test_a_short_wait_keeps_half_of_it_as_margin(
    api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    execution = await api.executions.StartAgent(
        caller.request(agent_id="reviewer", callback_deadline=deadline)
    )
    margin = deadline - execution.status.deadline.ToDatetime(UTC)
    wait = deadline - execution.status.start_time.ToDatetime(UTC)
    assert abs(margin - wait / 2) < timedelta(milliseconds=1)


async def test_the_tightest_limit_is_the_deadline(api: Api) -> None:
    spec = AgentSpec(model="scripted:demo", limits=AgentLimits(timeout=Duration(seconds=7200)))
    config = AgentConfig(timeout=Duration(seconds=300))
    execution = await api.executions.StartAgent(StartAgentRequest(spec=spec, config=config))
    status = execution.status
    lasts = status.deadline.ToDatetime() - status.start_time.ToDatetime()
    assert abs(lasts - timedelta(minutes=5)) < timedelta(seconds=2)
    assert execution.spec.agent_id == ""


async def test_a_replay_is_the_same_execution_and_binds_the_new_attempt(
    api: Api, callers: Callers, client: Client
) -> None:
    first = await callers.start()
    request_id = new_id()
    started = await api.executions.StartAgent(
        first.request(agent_id="reviewer", message="m", request_id=request_id)
    )
    # A newer version of the agent changes nothing for a request made before it.
    await api.apply("reviewer", AgentSpec(model="scripted:demo", description=new_id()))
    second = await callers.start(after=first)
    replayed = await api.executions.StartAgent(
        second.request(agent_id="reviewer", message="m", request_id=request_id)
    )
    assert replayed.id == started.id
    assert replayed.spec.agent_id == started.spec.agent_id
    _, binds = await started_events(client, started.id)
    assert [bind.token for bind in binds] == [first.token, second.token]


async def test_a_replay_is_answered_even_when_the_agent_is_gone(
    api: Api, callers: Callers, client: Client
) -> None:
    await api.apply("short-lived")
    caller = await callers.start()
    request = caller.request(agent_id="short-lived", message="m", request_id=new_id())
    started = await api.executions.StartAgent(request)
    await api.agents.DeleteAgent(DeleteAgentRequest(name="short-lived"))

    assert (await api.executions.StartAgent(request)).id == started.id
    _, binds = await started_events(client, started.id)
    assert len(binds) == 2
    request.request_id = new_id()
    async with refused(Code.NOT_FOUND) as refusal:
        await api.executions.StartAgent(request)
    assert refusal.message == "agent short-lived not found"


async def test_json_counts_as_a_value_in_a_replay(
    api: Api, callers: Callers, client: Client
) -> None:
    first = await callers.start()
    given = {"agent_id": "reviewer", "message": "m", "request_id": new_id()}
    started = await api.executions.StartAgent(
        first.request(**given, input_json='{"a": [1, true], "b": "é"}')
    )
    second = await callers.start(after=first)
    replay = second.request(**given, input_json='{"b":"\\u00e9","a":[1,true]}')
    assert (await api.executions.StartAgent(replay)).id == started.id
    # The execution ignores attempts of another digest: it is bound with the recorded one.
    start, binds = await started_events(client, started.id)
    assert binds[-1].token == second.token
    assert binds[-1].spec_digest == start.spec_digest
    for other in ('{"a": [1, 1], "b": "é"}', '{"a": [1.0, true], "b": "é"}', ""):
        replay.input_json = other
        async with refused(Code.ALREADY_EXISTS):
            await api.executions.StartAgent(replay)


async def test_another_request_under_the_same_id_is_refused(api: Api, callers: Callers) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer", message="one", request_id=new_id())
    await api.executions.StartAgent(request)
    request.message = "two"
    async with refused(Code.ALREADY_EXISTS):
        await api.executions.StartAgent(request)


async def test_another_workflow_under_the_same_request_id_is_refused(
    api: Api, callers: Callers, client: Client
) -> None:
    """Its token would never be bound: better no answer now than one a day later."""
    one, two = await callers.start(), await callers.start()
    request_id = new_id()
    started = await api.executions.StartAgent(
        StartAgentRequest(
            callback_token=one.token, agent_id="reviewer", message="m", request_id=request_id
        )
    )
    async with refused(Code.ALREADY_EXISTS):
        await api.executions.StartAgent(
            two.request(agent_id="reviewer", message="m", request_id=request_id)
        )
    again = await api.executions.StartAgent(
        one.request(agent_id="reviewer", message="m", request_id=request_id)
    )
    assert again.id == started.id


async def test_a_caller_that_declares_only_its_activity_is_reached_by_id(
    api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer")
    request.caller.ClearField("workflow_id")
    request.caller.ClearField("run_id")
    started = await api.executions.StartAgent(request)
    _, [bind] = await started_events(client, started.id)
    assert bind.caller == caller.request().caller


@pytest.mark.parametrize(
    "wrong",
    [
        {"env": {f"{'N' * 60}{number:03}": "" for number in range(64)}},
        {"spec": AgentSpec(model="scripted:x", allowed_models=["bad"] * 500)},
        {"labels": {"k" * 50_000: "v"}},
        {"labels": {"k": "'", "é" * 50_000: "v"}},
    ],
    ids=["names", "many", "long", "not ascii"],
)
async def test_whatever_is_wrong_the_answer_fits_into_one(api: Api, wrong: dict[str, Any]) -> None:
    """Trailers over gRPC's limit would reach the caller as RESOURCE_EXHAUSTED, to be retried."""
    request: dict[str, Any] = {"agent_id": "reviewer"} | wrong
    if "spec" in wrong:
        del request["agent_id"]
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.executions.StartAgent(StartAgentRequest(**request))
    assert refusal.fields
    assert len(refusal.message.encode()) <= 1000


async def test_without_a_request_id_the_token_is_the_identity(api: Api, callers: Callers) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer", message="m")
    first = await api.executions.StartAgent(request)
    assert (await api.executions.StartAgent(request)).id == first.id
    assert first.spec.request_id == tokens.request_id(tokens.parse(caller.token))

    untied = StartAgentRequest(agent_id="reviewer", message="m")
    one, two = [await api.executions.StartAgent(untied) for _ in range(2)]
    assert one.id != two.id


async def test_a_closed_execution_answers_its_outcome(staffed_api: Api, client: Client) -> None:
    request = StartAgentRequest(agent_id="reviewer", message="m", request_id=new_id())
    started = await staffed_api.executions.StartAgent(request)
    handle = client.get_workflow_handle(started.id)
    await handle.signal(FakeAgent.tell, "done")
    await handle.result()
    replayed = await staffed_api.executions.StartAgent(request)
    assert replayed.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
    assert replayed.status.output.text == "done"
    assert replayed.status.HasField("end_time")
    request.message = "other"
    async with refused(Code.ALREADY_EXISTS):
        await staffed_api.executions.StartAgent(request)


async def test_a_corrupt_token_starts_nothing(api: Api, client: Client) -> None:
    request_id = new_id()
    for token in (b"\xff\xfe not a token", b"\x0a\x01x"):
        request = StartAgentRequest(
            agent_id="reviewer", callback_token=token, request_id=request_id
        )
        with capture_logs() as events:
            async with refused(Code.INVALID_ARGUMENT) as refusal:
                await api.executions.StartAgent(request)
        assert refusal.fields == ["callback_token"]
        [rejected] = [event for event in events if event["event"] == "token_rejected"]
        assert rejected["error_type"] == "invalid_argument"
        assert rejected["callback_fingerprint"] == tokens.fingerprint(token)
    assert not await is_started(client, ids.execution_id("local", "default", request_id))


async def test_a_token_of_another_namespace_is_refused(
    api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    foreign = tokens.parse(caller.token)
    other = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="temporal-system")
    )
    foreign.namespace_id = other.namespace_info.id
    request = StartAgentRequest(agent_id="reviewer", request_id=new_id())
    request.callback_token = foreign.SerializeToString()
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.executions.StartAgent(request)
    assert refusal.fields == ["callback_token"]
    assert not await is_started(client, ids.execution_id("local", "default", request.request_id))


async def test_a_resolved_token_is_refused_unless_it_was_started_before(
    api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer", message="m", request_id=new_id())
    started = await api.executions.StartAgent(request)
    await client.get_async_activity_handle(task_token=caller.token).complete("by somebody else")
    await caller.handle.result()

    assert (await api.executions.StartAgent(request)).id == started.id
    request.request_id = new_id()
    async with refused(Code.FAILED_PRECONDITION) as refusal:
        await api.executions.StartAgent(request)
    assert refusal.reason == "CALLER_GONE"
    assert not await is_started(client, ids.execution_id("local", "default", request.request_id))


async def test_a_caller_asked_to_stop_starts_nothing_and_stops_what_it_started(
    staffed_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer", message="m", request_id=new_id())
    started = await staffed_api.executions.StartAgent(request)
    await caller.handle.cancel()

    async def asked_to_stop() -> bool:
        description = await caller.handle.describe()
        pending = description.raw_description.pending_activities
        return pending[0].state == 3  # CANCEL_REQUESTED

    await eventually(asked_to_stop, what="the activity is asked to stop")
    async with refused(Code.FAILED_PRECONDITION) as refusal:
        await staffed_api.executions.StartAgent(request)
    assert refusal.reason == "CALLER_CANCELLED"
    handle = client.get_workflow_handle(started.id)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED

    request.request_id = new_id()
    async with refused(Code.FAILED_PRECONDITION):
        await staffed_api.executions.StartAgent(request)
    assert not await is_started(client, ids.execution_id("local", "default", request.request_id))
    await client.get_async_activity_handle(task_token=caller.token).report_cancellation()


async def test_the_declared_caller_must_be_the_tokens(api: Api, callers: Callers) -> None:
    caller = await callers.start()
    for part in ("workflow_id", "run_id", "activity_id"):
        request = caller.request(agent_id="reviewer")
        setattr(request.caller, part, "another")
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await api.executions.StartAgent(request)
        assert refusal.fields == [f"caller.{part}"]


async def test_a_wait_longer_than_the_retention_is_refused_with_the_fix(
    api: Api, callers: Callers
) -> None:
    caller = await callers.start()
    deadline = datetime.now(UTC) + timedelta(days=400)
    async with refused(Code.FAILED_PRECONDITION) as refusal:
        await api.executions.StartAgent(
            caller.request(agent_id="reviewer", callback_deadline=deadline)
        )
    assert refusal.reason == "RETENTION_TOO_SHORT"
    assert "stigma setup" in refusal.message


async def test_a_wait_that_is_over_is_refused(api: Api, callers: Callers) -> None:
    caller = await callers.start()
    deadline = datetime.now(UTC) - timedelta(seconds=1)
    async with refused(Code.FAILED_PRECONDITION) as refusal:
        await api.executions.StartAgent(
            caller.request(agent_id="reviewer", callback_deadline=deadline)
        )
    assert refusal.reason == "CALLER_TIMED_OUT"


async def test_what_fits_each_field_but_not_together_is_refused(api: Api) -> None:
    request = StartAgentRequest(
        agent_id="reviewer", message="a" * 1_000_000, input_json='"' + "b" * 1_000_000 + '"'
    )
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.executions.StartAgent(request)
    assert refusal.fields == ["request"]
    assert "1572864" in refusal.message


async def test_a_message_of_5_mb_is_refused_with_size_and_limit(api: Api) -> None:
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.executions.StartAgent(
            StartAgentRequest(agent_id="reviewer", message="x" * 5_000_000)
        )
    assert refusal.fields == ["message"]
    assert "has 5000000 bytes, the limit is 1048576" in refusal.message
    async with refused(Code.RESOURCE_EXHAUSTED):
        await api.executions.StartAgent(
            StartAgentRequest(agent_id="reviewer", message="x" * 9_000_000)
        )


async def test_what_loosens_the_agent_is_refused(api: Api) -> None:
    limits = AgentLimits(timeout=Duration(seconds=60), steps=5, tokens=100, cost_usd=0.5)
    spec = AgentSpec(model="scripted:demo", env=["CITY"], limits=limits)
    config = AgentConfig(
        model="openai:gpt-5",
        timeout=Duration(seconds=120),
        limits=AgentLimits(timeout=Duration(seconds=61), steps=6, tokens=101, cost_usd=0.6),
    )
    request = StartAgentRequest(spec=spec, config=config, env={"CITY": "Rome", "PATH": "/"})
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await api.executions.StartAgent(request)
    assert sorted(refusal.fields) == [
        "config.limits.cost_usd",
        "config.limits.steps",
        "config.limits.timeout",
        "config.limits.tokens",
        "config.model",
        "config.timeout",
        "env.PATH",
    ]


async def test_a_hundred_replays_at_once_are_one_execution(api: Api, client: Client) -> None:
    request = StartAgentRequest(agent_id="reviewer", message="m", request_id=new_id())
    answers = await asyncio.gather(*(api.executions.StartAgent(request) for _ in range(100)))
    assert len({answer.id for answer in answers}) == 1
    runs = await eventually(lambda: is_started(client, answers[0].id), what="it is listed")
    assert runs


async def test_a_workflow_that_breaks_says_nothing_of_its_text(
    staffed_api: Api, client: Client
) -> None:
    request = StartAgentRequest(agent_id="reviewer", message="m", request_id=new_id())
    started = await staffed_api.executions.StartAgent(request)
    handle = client.get_workflow_handle(started.id)
    await handle.signal(FakeAgent.tell, "break")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.__cause__, ApplicationError)
    replayed = await staffed_api.executions.StartAgent(request)
    assert replayed.status.failure.message == "the agent's workflow failed"
