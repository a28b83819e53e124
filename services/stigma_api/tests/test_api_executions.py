"""Get, List and Cancel against a real Temporal server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.client import Client, WorkflowFailureError

from services.stigma_api.tests.api_server import SCRIPTED, Api, refused, running_api
from services.stigma_api.tests.fake_executions import FakeAgent
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_PENDING,
    AGENT_EXECUTION_PHASE_RUNNING,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    AgentExecution,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    ListAgentExecutionsResponse,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CANCELLED,
    FAILURE_REASON_STEP_LIMIT,
    FAILURE_REASON_TERMINATED,
    Agent,
    AgentSpec,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.contracts import limits
from stigma.contracts.task_queues import TaskQueues
from stigma.contracts.workflows import AgentWorkflow
from stigma_api.access.principals import Action, Principal, Principals
from stigma_api.executions import reader
from stigma_api.temporal.calls import TEMPORAL_TIMEOUT
from tests.stack.waiting import eventually

Code = grpc.StatusCode


async def start(api: Api, message: str = "m", **fields: Any) -> AgentExecution:
    started: AgentExecution = await api.executions.StartAgent(
        StartAgentRequest(agent_id="reviewer", message=message, **fields)
    )
    return started


async def get(api: Api, execution_id: str, **fields: Any) -> AgentExecution:
    got: AgentExecution = await api.executions.GetAgentExecution(
        GetAgentExecutionRequest(id=execution_id, **fields)
    )
    return got


async def ended(api: Api, client: Client, execution_id: str, word: str) -> AgentExecution:
    handle = client.get_workflow_handle(execution_id)
    await handle.signal(FakeAgent.tell, word)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return await get(api, execution_id)


async def test_nobody_at_work_is_pending_and_answered_at_once(api: Api) -> None:
    started = await start(api)
    got = await get(api, started.id, view=AGENT_EXECUTION_VIEW_FULL)
    assert got.status.phase == AGENT_EXECUTION_PHASE_PENDING
    assert got.spec.agent_id.startswith("reviewer@")


async def test_a_running_execution_shows_its_steps_and_in_full_its_conversation(
    staffed_api: Api,
) -> None:
    started = await start(staffed_api, "what is it?", env={"CITY": "Rome"})

    async def a_step_later() -> AgentExecution | None:
        got = await get(staffed_api, started.id)
        return got if got.status.steps else None

    basic = await eventually(a_step_later, what="the first step")
    assert basic is not None
    assert basic.status.phase == AGENT_EXECUTION_PHASE_RUNNING
    assert not basic.status.messages
    assert basic.spec.message == ""

    async def in_full() -> AgentExecution | None:
        got = await get(staffed_api, started.id, view=AGENT_EXECUTION_VIEW_FULL)
        return got if got.status.messages else None  # a worker has a second to answer

    full = await eventually(in_full, what="the conversation")
    texts = [message.parts[0].text for message in full.status.messages]
    assert texts == ["what is it?", "step 1"]
    assert full.spec.message == "what is it?"
    assert full.spec.agent == SCRIPTED
    assert full.spec.request_id == started.spec.request_id


async def test_without_workers_what_temporal_knows_is_answered_soon(
    api: Api, client: Client
) -> None:
    started = await start(api)
    await client.get_workflow_handle(started.id).signal(AgentWorkflow.bind, args=[])
    await client.get_workflow_handle(started.id).cancel()
    begin = datetime.now(UTC)
    got = await get(api, started.id, view=AGENT_EXECUTION_VIEW_FULL)
    assert datetime.now(UTC) - begin < TEMPORAL_TIMEOUT
    assert got.id == started.id
    assert got.status.phase == AGENT_EXECUTION_PHASE_RUNNING
    assert got.spec.message == "m"  # from history
    assert not got.spec.callback_token


async def test_a_completed_execution_has_its_output(staffed_api: Api, client: Client) -> None:
    started = await start(staffed_api, labels={"a": "b"})
    got = await ended(staffed_api, client, started.id, "the answer")
    assert got.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
    assert got.status.output.text == "the answer"
    assert dict(got.spec.labels) == {"a": "b"}
    full = await get(staffed_api, started.id, view=AGENT_EXECUTION_VIEW_FULL)
    assert len(full.status.messages) == 2


async def test_the_conversation_of_one_that_ended_is_waited_for(
    staffed_api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await start(staffed_api)
    await ended(staffed_api, client, started.id, "the answer")
    monkeypatch.setattr(reader, "_QUERY_TIMEOUT", timedelta(milliseconds=1))
    full = await get(staffed_api, started.id, view=AGENT_EXECUTION_VIEW_FULL)
    assert len(full.status.messages) == 2


async def test_a_failed_execution_has_its_reason(staffed_api: Api, client: Client) -> None:
    started = await start(staffed_api)
    got = await ended(staffed_api, client, started.id, "fail")
    assert got.status.phase == AGENT_EXECUTION_PHASE_FAILED
    assert got.status.failure.reason == FAILURE_REASON_STEP_LIMIT
    assert got.status.failure.step == "model_call 2"
    assert got.spec.principal == "local"


async def test_a_terminated_execution_failed(api: Api, client: Client) -> None:
    started = await start(api)
    await client.get_workflow_handle(started.id).terminate(reason="by hand")
    got = await get(api, started.id)
    assert got.status.phase == AGENT_EXECUTION_PHASE_FAILED
    assert got.status.failure.reason == FAILURE_REASON_TERMINATED
    assert got.status.failure.message == "terminated in Temporal: by hand"
    assert got.status.HasField("end_time")


async def test_an_execution_that_temporal_timed_out_is_timed_out(api: Api, client: Client) -> None:
    # Stigma sets no Temporal timeout; whoever starts the workflow otherwise may.
    started = await start(api)
    description = await client.get_workflow_handle(started.id).describe()
    execution_id = f"agent-{uuid.uuid4().hex}"
    handle = await client.start_workflow(
        "AgentWorkflow",
        id=execution_id,
        task_queue=api.queues.orchestrator,
        memo={**await description.memo(), "execution": started},
        run_timeout=timedelta(milliseconds=10),
    )
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    got = await get(api, execution_id)
    assert got.status.phase == AGENT_EXECUTION_PHASE_TIMED_OUT
    assert got.status.failure.reason == FAILURE_REASON_TERMINATED


async def test_what_does_not_exist_is_not_found(api: Api, client: Client) -> None:
    other = await client.start_workflow("SomethingElse", id=uuid.uuid4().hex, task_queue="nobody")
    for execution_id in ("agent-1", "", "x" * 2000, "x" * 20_000, other.id):
        async with refused(Code.NOT_FOUND) as refusal:
            await get(api, execution_id)
        assert refusal.message.startswith(f"agent execution {execution_id}"[:200])
        assert refusal.message.endswith(" not found")
    await other.terminate()


async def test_cancel_by_id_records_the_reason(staffed_api: Api, client: Client) -> None:
    started = await start(staffed_api)
    request = CancelAgentExecutionRequest(id=started.id, reason="not needed")
    answer = await staffed_api.executions.CancelAgentExecution(request)
    assert answer.id == started.id
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(started.id).result()
    got = await get(staffed_api, started.id)
    assert got.status.phase == AGENT_EXECUTION_PHASE_CANCELLED
    assert got.status.failure.message == "as asked"
    # A terminal one is returned as it is.
    again = await staffed_api.executions.CancelAgentExecution(request)
    assert again.status.phase == AGENT_EXECUTION_PHASE_CANCELLED


async def test_a_cancelled_workflow_that_says_nothing_is_cancelled(
    staffed_api: Api, client: Client
) -> None:
    started = await start(staffed_api, "cancel silently")
    await staffed_api.executions.CancelAgentExecution(CancelAgentExecutionRequest(id=started.id))
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(started.id).result()
    got = await get(staffed_api, started.id)
    assert got.status.phase == AGENT_EXECUTION_PHASE_CANCELLED
    assert got.status.failure.reason == FAILURE_REASON_CANCELLED


async def test_cancel_by_request_id(api: Api, client: Client) -> None:
    started = await start(api, request_id=uuid.uuid4().hex)
    answer = await api.executions.CancelAgentExecution(
        CancelAgentExecutionRequest(request_id=started.spec.request_id, namespace="default")
    )
    assert answer.id == started.id
    async with refused(Code.NOT_FOUND):
        await api.executions.CancelAgentExecution(CancelAgentExecutionRequest(request_id="none"))
    for request in (
        CancelAgentExecutionRequest(),
        CancelAgentExecutionRequest(id="a", request_id="b"),
    ):
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await api.executions.CancelAgentExecution(request)
        assert refusal.fields == ["id"]


async def listed(api: Api, filter_text: str = "", **fields: Any) -> list[str]:
    reply = await api.executions.ListAgentExecutions(
        ListAgentExecutionsRequest(filter=filter_text, **fields)
    )
    return [execution.id for execution in reply.executions]


async def test_list_filters_by_what_is_documented(staffed_api: Api, client: Client) -> None:
    session = uuid.uuid4().hex
    running = await start(staffed_api, session_id=session, labels={"team": "its not"})
    completed = await start(staffed_api, session_id=session)
    failed = await start(staffed_api, session_id=session)
    terminated = await start(staffed_api, session_id=session)
    cancelled = await start(staffed_api, session_id=session)
    await ended(staffed_api, client, completed.id, "done")
    await ended(staffed_api, client, failed.id, "fail")
    await client.get_workflow_handle(terminated.id).terminate()
    await staffed_api.executions.CancelAgentExecution(CancelAgentExecutionRequest(id=cancelled.id))
    by_phase = {
        "RUNNING": {running.id},
        "COMPLETED": {completed.id},
        "FAILED": {failed.id, terminated.id},
        "CANCELLED": {cancelled.id},
        "TIMED_OUT": set(),
        "INPUT_REQUIRED": set(),
    }
    for phase, expected in by_phase.items():
        wanted = f'session = "{session}" AND phase = {phase}'

        async def seen(query: str = wanted, ids: set[str] = expected) -> bool:
            return set(await listed(staffed_api, query)) == ids

        await eventually(seen, what=wanted)
    assert len(await listed(staffed_api, f'agent = "reviewer" AND session = "{session}"')) == 5
    assert await listed(staffed_api, f'agent = "nobody" AND session = "{session}"') == []
    mine = f'labels.team = "its not" AND session = "{session}"'
    assert await listed(staffed_api, mine) == [running.id]
    assert await listed(staffed_api, 'start_time >= "2200-01-01T00:00:00Z"') == []

    reply = await staffed_api.executions.ListAgentExecutions(
        ListAgentExecutionsRequest(filter=f'session = "{session}" AND phase = COMPLETED')
    )
    [shown] = reply.executions
    assert shown.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
    assert not shown.status.HasField("output")
    assert shown.status.HasField("end_time")


async def test_list_pages(api: Api) -> None:
    run = uuid.uuid4().hex
    started = {(await start(api, labels={"run": run})).id for _ in range(5)}
    query = f'labels.run = "{run}"'

    async def all_seen() -> bool:
        return set(await listed(api, query)) == started

    await eventually(all_seen, what="all are listed")
    seen: list[str] = []
    request = ListAgentExecutionsRequest(filter=query, page_size=2)
    while True:
        reply = await api.executions.ListAgentExecutions(request)
        assert len(reply.executions) <= 2
        seen += [execution.id for execution in reply.executions]
        if not reply.next_page_token:
            break
        request.page_token = reply.next_page_token
    assert sorted(seen) == sorted(started)
    for bad in ("nonsense!", "AAAA"):
        request.page_token = bad
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await api.executions.ListAgentExecutions(request)
        assert refusal.fields == ["page_token"]


async def test_a_page_fits_into_one_message_and_goes_on_where_it_ends(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [f"scripted:{number:02}-{'m' * 243}" for number in range(64)]
    spec = AgentSpec(description="d" * 4096, model="scripted:demo", allowed_models=models)
    run = uuid.uuid4().hex
    request = StartAgentRequest(spec=spec, labels={"run": run})
    started = await asyncio.gather(*(api.executions.StartAgent(request) for _ in range(10)))
    ids = {execution.id for execution in started}

    async def pages(most: int) -> list[ListAgentExecutionsResponse]:
        monkeypatch.setattr(limits, "MAX_PAGE_BYTES", most)
        request = ListAgentExecutionsRequest(filter=f'labels.run = "{run}"', page_size=1000)
        found = [await api.executions.ListAgentExecutions(request)]
        while found[-1].next_page_token:
            request.page_token = found[-1].next_page_token
            found.append(await api.executions.ListAgentExecutions(request))
        return found

    def shown(found: list[ListAgentExecutionsResponse]) -> list[str]:
        return [execution.id for page in found for execution in page.executions]

    async def all_seen() -> bool:
        return set(shown(await pages(10**9))) == ids

    await eventually(all_seen, what="all are listed")
    one = max(execution.ByteSize() for execution in (await pages(10**9))[0].executions)
    assert one > 20_000
    # Asked for a thousand, it ends before the fourth, or after the first, however large that is.
    for most, full in ((3 * one, 3), (1, 1)):
        found = await pages(most)
        assert sorted(shown(found)) == sorted(ids)
        assert {len(page.executions) for page in found[:-2]} == {full}
        assert all(page.executions for page in found if page.next_page_token)


@pytest.fixture(scope="module")
def two_principals() -> Principals:
    def hashed(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    return Principals(
        [
            Principal(name="alice", key_sha256=[hashed("a")], workflow_id_prefixes=["alice-"]),
            Principal(name="bob", key_sha256=[hashed("b")]),
            Principal(name="root", key_sha256=[hashed("r")], actions=frozenset({Action.ADMIN})),
        ]
    )


async def test_executions_are_their_principals_own(
    temporal_server: Any, tmp_path: Path, two_principals: Principals
) -> None:
    async with running_api(temporal_server.address, tmp_path, principals=two_principals) as api:
        alice, bob, root = [{"metadata": [("authorization", f"Bearer {k}")]} for k in "abr"]
        agent = Agent(name="reviewer", spec=AgentSpec(model="scripted:x"))
        await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **root)
        request = StartAgentRequest(agent_id="reviewer", request_id=uuid.uuid4().hex)
        hers = await api.executions.StartAgent(request, **alice)
        his = await api.executions.StartAgent(request, **bob)
        assert hers.id != his.id
        async with refused(Code.NOT_FOUND):
            await api.executions.GetAgentExecution(GetAgentExecutionRequest(id=hers.id), **bob)
        async with refused(Code.NOT_FOUND):
            cancel = CancelAgentExecutionRequest(id=hers.id)
            await api.executions.CancelAgentExecution(cancel, **bob)
        seen = await api.executions.GetAgentExecution(GetAgentExecutionRequest(id=hers.id), **root)
        assert seen.spec.principal == "alice"

        async def ids(who: dict[str, Any]) -> set[str]:
            listed = ListAgentExecutionsRequest()
            reply = await api.executions.ListAgentExecutions(listed, **who)
            return {execution.id for execution in reply.executions}

        async def root_sees_both() -> bool:
            return await ids(root) == {hers.id, his.id}

        await eventually(root_sees_both, what="both are listed")
        assert await ids(alice) == {hers.id}
        assert await ids(bob) == {his.id}


def test_queues_of_two_installations_differ(api: Api, staffed_api: Api) -> None:
    assert api.queues.orchestrator != staffed_api.queues.orchestrator
    assert api.queues.orchestrator.endswith(TaskQueues().orchestrator)
