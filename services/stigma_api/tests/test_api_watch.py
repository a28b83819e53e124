"""WatchAgentExecution against a real Temporal server: nothing is lost, whatever happens."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue

from services.stigma_api.tests.api_server import Api, refused
from services.stigma_api.tests.event_texts import api_with_workers, end
from services.stigma_api.tests.fake_executions import FakeAgent
from services.stigma_api.tests.rpc_counter import counted
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AgentExecution,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_CONTEXT_LENGTH
from stigma.contracts import payloads, tokens
from stigma.internal.v1.execution_pb2 import ModelCallRequest, ModelCallResponse
from stigma_api.executions.reader import Reader
from stigma_api.executions.watch import Watching
from stigma_api.executions.watch_events import AgentEventMapper
from stigma_api.kinds import AGENTS
from tests.stack.waiting import eventually

Code = grpc.StatusCode


async def start(api: Api, message: str = "m", **fields: Any) -> AgentExecution:
    started: AgentExecution = await api.executions.StartAgent(
        StartAgentRequest(agent_id="reviewer", message=message, **fields)
    )
    return started


def watch(api: Api, execution_id: str, cursor: str = "") -> Any:
    return api.executions.WatchAgentExecution(
        WatchAgentExecutionRequest(id=execution_id, cursor=cursor), timeout=30
    )


async def watched(
    api: Api, execution_id: str, cursor: str = ""
) -> list[WatchAgentExecutionResponse]:
    """Everything up to the end of a terminal execution."""
    return [event async for event in watch(api, execution_id, cursor)]


def kinds(events: list[WatchAgentExecutionResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


async def tell(client: Client, execution_id: str, word: str) -> None:
    await client.get_workflow_handle(execution_id).signal(FakeAgent.tell, word)


async def test_a_live_stream_tells_each_step_once_and_ends(
    staffed_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    started = await staffed_api.executions.StartAgent(
        caller.request(agent_id="reviewer", message="m")
    )
    events = []
    async for event in watch(staffed_api, started.id):
        events.append(event)
        assert event.HasField("time")
        if event.HasField("model_call_completed"):
            await tell(client, started.id, "deliver")
    assert kinds(events) == [
        "started",
        "callback_bound",
        "model_call_started",
        "model_call_completed",
        "callback_delivering",
        "ended",
    ]
    assert events[0].started.execution.id == started.id
    assert events[1].callback_bound.fingerprint == tokens.fingerprint(caller.token)
    assert events[2].model_call_started.model == "scripted:demo"
    assert events[3].model_call_completed.message.parts[0].text == "step 1"
    assert events[3].model_call_completed.usage.output_tokens == 5
    # In a local activity, whose input is not in history: to the newest token.
    assert events[4].callback_delivering.fingerprint == tokens.fingerprint(caller.token)
    assert events[5].ended.execution.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
    assert all(caller.token not in event.SerializeToString() for event in events)
    assert len({event.cursor for event in events}) == len(events)


async def test_a_delivery_after_continue_as_new_names_its_token(
    staffed_api: Api, callers: Callers, client: Client
) -> None:
    caller = await callers.start()
    started = await staffed_api.executions.StartAgent(
        caller.request(agent_id="reviewer", message="m")
    )
    words = ["continue as new", "deliver"]
    async for event in watch(staffed_api, started.id):
        if event.HasField("model_call_completed"):
            await tell(client, started.id, words.pop(0))
        if event.HasField("callback_delivering"):
            fingerprint = event.callback_delivering.fingerprint
    assert not words
    assert fingerprint == tokens.fingerprint(caller.token)


async def test_the_bind_of_another_request_is_not_told(api: Api, callers: Callers) -> None:
    first = await callers.start()
    request = first.request(agent_id="reviewer", message="one", request_id=first.handle.id)
    started = await api.executions.StartAgent(request)
    second = await callers.start(after=first)
    async with refused(Code.ALREADY_EXISTS):
        await api.executions.StartAgent(
            second.request(agent_id="reviewer", message="two", request_id=first.handle.id)
        )
    await api.executions.StartAgent(
        second.request(agent_id="reviewer", message="one", request_id=first.handle.id)
    )
    bound = []
    async for event in watch(api, started.id):
        if event.HasField("callback_bound"):
            bound.append(event.callback_bound.fingerprint)
        if len(bound) == 2:
            break
    assert bound == [tokens.fingerprint(first.token), tokens.fingerprint(second.token)]


async def test_an_odd_signal_ends_no_stream(api: Api, callers: Callers, client: Client) -> None:
    caller = await callers.start()
    started = await api.executions.StartAgent(caller.request(agent_id="reviewer", message="m"))
    handle = client.get_workflow_handle(started.id)
    for odd in (["no bind"], [], [{"token": 1}], [RawValue(payloads.binary_payload(started))]):
        await handle.signal("bind", args=odd)
    await handle.terminate()
    events = await watched(api, started.id)
    assert kinds(events) == ["started", "callback_bound", "ended"]
    assert events[1].callback_bound.fingerprint == tokens.fingerprint(caller.token)


async def test_every_cursor_resumes_right_after_it_over_continue_as_new(
    staffed_api: Api, client: Client
) -> None:
    started = await start(staffed_api)
    for step in (1, 2):
        async for event in watch(staffed_api, started.id):
            if event.model_call_completed.step == step:
                break
        await tell(client, started.id, "continue as new" if step == 1 else "done")
        if step == 1:
            continue
        await client.get_workflow_handle(started.id).result()
    everything = await watched(staffed_api, started.id)
    assert kinds(everything) == [
        "started",
        "model_call_started",
        "model_call_completed",
        "model_call_started",
        "model_call_completed",
        "ended",
    ]
    for index, event in enumerate(everything):
        rest = await watched(staffed_api, started.id, event.cursor)
        assert rest == everything[index + 1 :]


async def test_a_reset_execution_is_followed_into_its_new_run(
    staffed_api: Api, client: Client
) -> None:
    started = await start(staffed_api)
    handle = client.get_workflow_handle(started.id)
    stream = watch(staffed_api, started.id)
    events = []
    async for event in stream:
        events.append(event)
        if event.HasField("model_call_completed"):
            break
    history = await handle.fetch_history()
    first_task = next(
        e for e in history.events if e.HasField("workflow_task_completed_event_attributes")
    )
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=started.id),
            workflow_task_finish_event_id=first_task.event_id,
            request_id=started.id,
        )
    )
    async for event in stream:
        events.append(event)
        if event.HasField("model_call_completed"):
            await tell(client, started.id, "done")
    assert kinds(events)[0] == "started"
    assert kinds(events).count("started") == 1
    assert kinds(events)[-3:] == ["model_call_started", "model_call_completed", "ended"]
    assert events[-1].ended.execution.status.phase == AGENT_EXECUTION_PHASE_COMPLETED


async def test_a_failed_model_call_and_a_cancel_are_told(staffed_api: Api, client: Client) -> None:
    started = await start(staffed_api, "model fails")
    async for event in watch(staffed_api, started.id):
        if event.HasField("model_call_failed"):
            assert event.model_call_failed.failure.reason == FAILURE_REASON_CONTEXT_LENGTH
            assert event.model_call_failed.failure.message == "out of context"
            break
    await staffed_api.executions.CancelAgentExecution(
        CancelAgentExecutionRequest(id=started.id, reason="enough")
    )
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(started.id).result()
    events = await watched(staffed_api, started.id)
    assert kinds(events)[-2:] == ["cancel_requested", "ended"]
    assert events[-2].cancel_requested.reason == "enough"


async def test_a_stream_without_workers_ends_when_the_workflow_is_terminated(
    api: Api, client: Client
) -> None:
    started = await start(api)

    async def follow() -> list[WatchAgentExecutionResponse]:
        return await watched(api, started.id)

    following = asyncio.create_task(follow())
    metrics = api.runtime.metrics
    method = "/stigma.agent.v1.AgentExecutionService/WatchAgentExecution"

    def is_open() -> bool:
        return bool(metrics.get_sample_value("stigma_rpc_in_flight", {"method": method}))

    await eventually(is_open, what="the stream is open")
    await client.get_workflow_handle(started.id).terminate()
    events = await following
    assert kinds(events) == ["started", "ended"]
    assert events[-1].ended.execution.status.phase == AGENT_EXECUTION_PHASE_FAILED
    assert await watched(api, started.id, events[-1].cursor) == []


async def test_a_cursor_of_something_else_is_refused(api: Api) -> None:
    one, other = await start(api), await start(api)
    async for event in watch(api, other.id):
        foreign = event.cursor
        break
    async for event in watch(api, one.id):
        run_id, first = base64.urlsafe_b64decode(event.cursor).decode().split(":")
        break
    event_ids = ("99999", "9" * 18, "9" * 30, f"-{first}", f"+{first}", f"{first}_0", "\u0661", "")
    forged = [base64.urlsafe_b64encode(f"{run_id}:{id_}".encode()).decode() for id_ in event_ids]
    for cursor in (foreign, "nonsense!", "bm8gbnVtYmVy", "eDox", *forged):
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await watched(api, one.id, cursor)
        assert refusal.fields == ["cursor"]
    async with refused(Code.NOT_FOUND):
        await watched(api, "agent-none")


async def test_a_long_history_is_read_in_turns_and_each_conversation_once(
    temporal_server: Any, tmp_path: Path, client: Client
) -> None:
    calls = 16
    async with api_with_workers(temporal_server.address, tmp_path, client) as api:
        started = await start(api, "call: " * calls)
        await end(client, started.id)

    async def read(cursor: str = "") -> tuple[list[WatchAgentExecutionResponse], Any]:
        counting, decoded = counted(client)
        reader = Reader(counting, AGENTS)
        found = await reader.find(started.id)
        assert found is not None
        events = Watching(counting, AGENTS, reader, AgentEventMapper).events(found, cursor)
        async with decoded.beside_somebody():
            return [event async for event in events], decoded

    everything, decoded = await read()
    told = [
        event.model_call_started for event in everything if event.HasField("model_call_started")
    ]
    assert [each.step for each in told] == list(range(1, calls + 1))
    assert {each.model for each in told} == {"scripted:demo"}
    assert decoded.of(ModelCallRequest) == 1
    assert decoded.of(ModelCallResponse) == calls
    assert decoded.most_in_one_turn < calls / 2
    known = 2 * calls - 3  # its start, and all calls but two
    rest, decoded = await read(everything[known - 1].cursor)
    assert rest == everything[known:]
    assert decoded.of(ModelCallRequest) == 1
    assert decoded.of(ModelCallResponse) == 2
