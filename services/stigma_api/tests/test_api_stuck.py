"""Stuck executions against a real Temporal server: each reason by its real cause."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.converter import encode_search_attributes

from services.stigma_api.tests.api_server import Api, refused, running_api
from services.stigma_api.tests.event_texts import api_with_workers
from services.stigma_api.tests.fake_workflows import Staged, diagnosis, timeline_of, worker
from services.stigma_api.tests.rpc_counter import counted
from services.stigma_api.tests.waiting_callers import Callers
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent, AgentConfig, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.contracts import search_attributes
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.internal.v1.execution_pb2 import Bind, ModelCallRequest, ModelCallResponse
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_api.access.principals import Action, Principal, Principals
from stigma_api.diagnosis.stuck import attempts
from stigma_api.diagnosis.stuck import executions as stuck
from stigma_api.diagnosis.stuck.callers import WaitingCallers
from stigma_api.diagnosis.stuck.diagnosis import duration_text
from stigma_api.executions.reader import Reader
from stigma_api.kinds import KINDS
from tests.stack.faults import Fail, FaultProxy
from tests.stack.waiting import eventually

Code = grpc.StatusCode


async def listed(api: Api, **fields: Any) -> pb.ListStuckExecutionsResponse:
    """Call ListStuckExecutions; executions of any age by default."""
    request = pb.ListStuckExecutionsRequest(**fields)
    if "min_age" not in fields:
        request.min_age.FromTimedelta(timedelta())
    reply: pb.ListStuckExecutionsResponse = await diagnosis(api).ListStuckExecutions(
        request, timeout=15
    )
    assert b"secret" not in reply.SerializeToString()
    return reply


async def stuck_as(
    api: Api, execution_id: str, reason: pb.StuckReason.ValueType
) -> pb.StuckExecution:
    """What is said of an execution, once it is said for this reason."""
    seen: list[pb.StuckExecution] = []

    async def found() -> pb.StuckExecution | None:
        reply = await listed(api)
        seen[:] = [each for each in reply.executions if each.execution_id == execution_id]
        return seen[0] if seen and seen[0].reason == reason else None

    name = pb.StuckReason.Name(reason)
    return await eventually(found, what=lambda: f"{name}, not {seen}")


async def start(api: Api, message: str, **fields: Any) -> AgentExecution:
    request = StartAgentRequest(agent_id="reviewer", message=message, **fields)
    started: AgentExecution = await api.executions.StartAgent(request)
    return started


async def start_document(api: Api, document: str) -> Any:
    executions = WorkflowExecutionServiceStub(api.channel)
    request = StartWorkflowRequest(spec=WorkflowSpec(document=document), request_id=document)
    return await executions.StartWorkflow(request)


@pytest.fixture(scope="module")
async def deserted(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An installation whose orchestrator alone has a worker."""
    async with running_api(temporal_server.address, tmp_path_factory.mktemp("deserted")) as api:
        await api.apply("reviewer")
        async with worker(client, api.queues.orchestrator, Staged()):
            yield api


@pytest.fixture(scope="module")
async def crowded(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An installation with all workers, of which the AI worker has one slot."""
    staged = Staged()
    async with running_api(temporal_server.address, tmp_path_factory.mktemp("crowded")) as api:
        await api.apply("reviewer")
        async with (
            worker(client, api.queues.orchestrator, staged),
            worker(client, api.queues.ai, staged, max_concurrent_activities=1),
            worker(client, api.queues.engine, staged),
        ):
            yield api
            staged.release.set()


async def test_no_worker_polls_the_queue_of_the_next_step(deserted: Api, api: Api) -> None:
    asks_model = await start(deserted, "call:")
    watches = await start(deserted, "watch")
    document = await start_document(deserted, "waits")
    untaken = await start(api, "m")
    for of, execution, queue, service in (
        (deserted, asks_model, deserted.queues.ai, "ai_worker"),
        (deserted, watches, deserted.queues.watch, "stigma_orchestrator"),
        (deserted, document, deserted.queues.engine, "zigflow_worker"),
        (api, untaken, api.queues.orchestrator, "stigma_orchestrator"),
    ):
        found = await stuck_as(of, execution.id, pb.STUCK_REASON_NO_WORKER)
        assert found.message == f"no worker polls task queue {queue}: start {service}"
        assert found.command == (
            f"temporal task-queue describe --namespace default --task-queue {queue}"
        )
    found = await stuck_as(deserted, asks_model.id, pb.STUCK_REASON_NO_WORKER)
    assert found.definition_id == "reviewer@1"
    assert found.start_time == asks_model.status.start_time
    assert found.deadline == asks_model.status.deadline


async def test_a_worker_that_is_gone_is_noticed_at_once(deserted: Api, client: Client) -> None:
    async with worker(client, deserted.queues.ai, Staged()):
        served = await start(deserted, "call: ")

        async def called() -> bool:
            return bool((await timeline_of(deserted, served.id)).usage.model_calls)

        await eventually(called, what="a model call")
    # Temporal remembers its polls for minutes.
    left = await start(deserted, "call:")
    await stuck_as(deserted, left.id, pb.STUCK_REASON_NO_WORKER)


async def test_a_delivery_that_is_retried(deserted: Api) -> None:
    execution = await start(deserted, "deliver:UNAVAILABLE")
    found = await stuck_as(deserted, execution.id, pb.STUCK_REASON_DELIVERY_RETRYING)
    assert found.message == (
        "its outcome cannot be delivered: the last attempt ended by UNAVAILABLE, attempt 2 follows"
    )
    assert found.command == f"stigma execution timeline {execution.id}"


async def test_a_person_is_waited_for(deserted: Api) -> None:
    execution = await start(deserted, "ask")
    found = await stuck_as(deserted, execution.id, pb.STUCK_REASON_INPUT_REQUIRED)
    assert (found.message, found.command) == (
        "waits for people",
        f"stigma execution get {execution.id}",
    )


async def test_who_waits_for_people_takes_no_place_of_one_that_is_stuck(
    temporal_server: Any, tmp_path: Path, client: Client
) -> None:
    async with running_api(temporal_server.address, tmp_path) as api:
        await api.apply("reviewer")
        async with worker(client, api.queues.orchestrator, Staged()):
            older = [await start(api, "ask", request_id=f"{number}") for number in range(2)]
            for each in older:
                await stuck_as(api, each.id, pb.STUCK_REASON_INPUT_REQUIRED)
            stuck_one = await start(api, "call:")
            await stuck_as(api, stuck_one.id, pb.STUCK_REASON_NO_WORKER)
            for limit, expected in ((1, 1), (2, 2), (3, 3)):
                reply = await listed(api, limit=limit)
                found = {each.execution_id for each in reply.executions}
                assert stuck_one.id in found
                assert (len(found), reply.open) == (expected, 3)


async def test_code_that_fails_on_this_version(deserted: Api, client: Client) -> None:
    execution = await start(deserted, "break")
    found = await stuck_as(deserted, execution.id, pb.STUCK_REASON_WORKFLOW_TASK_FAILING)
    assert found.message.startswith(f"the code of workflow {execution.id} fails on this version")
    assert found.command == (
        f"temporal workflow show --namespace default --workflow-id {execution.id}"
    )
    await client.get_workflow_handle(execution.id).terminate()


async def test_past_its_deadline(deserted: Api) -> None:
    config = AgentConfig()
    config.timeout.FromTimedelta(timedelta(seconds=1))
    execution = await start(deserted, "", config=config)  # its workflow does not look at it
    found = await stuck_as(deserted, execution.id, pb.STUCK_REASON_PAST_DEADLINE)
    assert found.message.startswith("past its deadline for ")
    assert found.command == f"stigma execution cancel {execution.id}"


async def test_a_caller_that_is_gone(deserted: Api, callers: Callers) -> None:
    declared, undeclared = await callers.start(), await callers.start()
    executions = [
        await deserted.executions.StartAgent(declared.request(agent_id="reviewer", message="")),
        await start(deserted, "", callback_token=undeclared.token),
    ]
    await start(deserted, "ask", request_id="visible")

    async def all_looked_at() -> bool:
        reply = await listed(deserted)
        return reply.open == reply.examined

    await eventually(all_looked_at, what="all are in visibility")
    waited_for = {each.execution_id for each in (await listed(deserted)).executions}
    assert not waited_for & {each.id for each in executions}
    for caller in (declared, undeclared):
        await caller.handle.terminate()
    for execution in executions:
        found = await stuck_as(deserted, execution.id, pb.STUCK_REASON_CALLER_GONE)
        assert found.command == f"stigma execution cancel {execution.id}"


async def test_a_caller_that_came_later_and_is_gone(deserted: Api, callers: Callers) -> None:
    execution = await start(deserted, "watch", request_id="later")
    caller = await callers.start()
    joined = await start(deserted, "watch", request_id="later", callback_token=caller.token)
    assert joined.id == execution.id
    await stuck_as(deserted, execution.id, pb.STUCK_REASON_NO_WORKER)
    await caller.handle.terminate()
    await stuck_as(deserted, execution.id, pb.STUCK_REASON_CALLER_GONE)


async def test_a_caller_that_came_later_is_known_by_the_search_attribute_too(
    deserted: Api, callers: Callers, client: Client
) -> None:
    execution = await start(deserted, "", request_id="noted")
    caller = await callers.start()
    await start(deserted, "", request_id="noted", callback_token=caller.token)
    await caller.handle.terminate()
    subject = await Reader[Any](client, *KINDS).find(execution.id)
    assert subject is not None
    waiting_callers = WaitingCallers(client)
    assert not await waiting_callers.are_gone(subject), "nothing shows that somebody came"
    pair = SearchAttributePair(search_attributes.CALLBACK, search_attributes.CALLBACK_WAITING)
    encode_search_attributes(
        TypedSearchAttributes([pair]), subject.described.workflow_execution_info.search_attributes
    )
    assert await waiting_callers.are_gone(subject)


async def test_who_asked_is_read_from_as_little_as_tells_it(
    temporal_server: Any,
    tmp_path: Path,
    callers: Callers,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting, decoded = counted(client)
    waiting_callers = WaitingCallers(counting)
    async with api_with_workers(temporal_server.address, tmp_path, client) as api:
        first = await callers.start()
        asked: dict[str, Any] = {"message": "call: continue " + "call: " * 5, "request_id": "x"}
        request = StartAgentRequest(agent_id="reviewer", callback_token=first.token, **asked)
        execution = await api.executions.StartAgent(request)

        async def all_called() -> bool:
            return (await timeline_of(api, execution.id)).usage.model_calls == 6

        async def are_gone() -> bool:
            subject = await Reader[Any](counting, *KINDS).find(execution.id)
            assert subject is not None
            return await waiting_callers.are_gone(subject)

        await eventually(all_called, what="six model calls")
        assert not await are_gone()
        assert decoded.of(Bind) == 0, "it is carried along, and the rest is not read"
        second = await callers.start(after=first)
        assert await are_gone()
        request.callback_token = second.token
        await api.executions.StartAgent(request)
        assert not await are_gone()
        await second.handle.terminate()
        assert await are_gone()
        assert decoded.of(ModelCallRequest) == decoded.of(ModelCallResponse) == 0
        monkeypatch.setattr(attempts, "MAX_BYTES", 1)
        assert not await are_gone(), "nobody can tell"


async def test_few_look_at_a_time_and_others_wait(temporal_server: Any, tmp_path: Path) -> None:
    method = "/stigma.diagnosis.v1.DiagnosisService/ListStuckExecutions"
    async with (
        FaultProxy(temporal_server.address) as proxy,
        running_api(proxy.address, tmp_path) as api,
    ):
        paused = proxy.pause("CountWorkflowExecutions")
        looks = [asyncio.create_task(listed(api)) for _ in range(8)]

        def all_are_in() -> bool:
            open_calls = api.runtime.metrics.get_sample_value(
                "stigma_rpc_in_flight", {"method": method}
            )
            return open_calls == len(looks)

        await eventually(all_are_in, what="eight calls")
        await proxy.wait_for("CountWorkflowExecutions", lambda counts: counts.received >= 3)
        async with refused(Code.INVALID_ARGUMENT):
            await listed(api, limit=-1)
        assert proxy.counts["CountWorkflowExecutions"].received == 3
        paused.release()
        assert {reply.open for reply in await asyncio.gather(*looks)} == {0}


async def test_a_reset_caller_is_gone_when_its_last_run_is(deserted: Api, callers: Callers) -> None:
    caller = await callers.start()
    request = caller.request(agent_id="reviewer", message="")
    execution = await deserted.executions.StartAgent(request)
    again = await callers.reset(await callers.reset(caller))

    async def looked_at() -> bool:
        reply = await listed(deserted)
        return reply.open == reply.examined

    await eventually(looked_at, what="all are in visibility")
    found = (await listed(deserted)).executions
    assert execution.id not in {each.execution_id for each in found}
    await again.handle.terminate()
    await stuck_as(deserted, execution.id, pb.STUCK_REASON_CALLER_GONE)


async def test_providers_and_steps_that_fail_and_workers_without_room(crowded: Api) -> None:
    limited = await start(crowded, "call:RATE_LIMITED")
    found = await stuck_as(crowded, limited.id, pb.STUCK_REASON_PROVIDER_LIMITED)
    assert found.message == (
        "the model's provider refuses calls: the last attempt ended by RATE_LIMITED, "
        "attempt 2 follows"
    )
    failing = await start(crowded, "call:INTERNAL")
    found = await stuck_as(crowded, failing.id, pb.STUCK_REASON_STEP_RETRYING)
    assert (
        found.message == "a model call fails: the last attempt ended by INTERNAL, attempt 2 follows"
    )
    handed_on = await start(crowded, "call:WorkerShutdown")

    async def tried_again() -> bool:
        return (await timeline_of(crowded, handed_on.id)).entries[-1].attempt == 2

    await eventually(tried_again, what="another worker is to take the call")
    document = await start_document(crowded, "retries")
    found = await stuck_as(crowded, document.id, pb.STUCK_REASON_STEP_RETRYING)
    assert found.message == (
        "HTTP call /do/0/fetch fails: the last attempt ended by communication, attempt 2 follows"
    )
    assert found.command.endswith(f"--workflow-id run-{document.id.partition('-')[2]}")
    holding = await start(crowded, "call:HOLD")

    async def holds() -> bool:
        told = await timeline_of(crowded, holding.id)
        return told.entries[-1].open and told.entries[-1].attempt == 1

    await eventually(holds, what="the slot is taken")
    waiting = await start(crowded, "call:")
    found = await stuck_as(crowded, waiting.id, pb.STUCK_REASON_BACKLOG)
    assert found.message.startswith(f"waits in task queue {crowded.queues.ai} for ")
    # One that is served is not stuck, however long it takes, nor one whose worker was rolled.
    named = {each.execution_id for each in (await listed(crowded)).executions}
    assert not named & {holding.id, handed_on.id}


async def test_a_call_that_lost_its_worker_once_is_not_stuck(crowded: Api) -> None:
    document = await start_document(crowded, "loses")

    async def call() -> pb.TimelineEntry | None:
        last = (await timeline_of(crowded, document.id)).entries[-1]
        return last if last.detail.endswith("is under way") else None

    found = await eventually(call, what="the second attempt")
    assert (found.title, found.detail) == (
        "fetch for /do/0/read",
        "its worker was lost, attempt 2 is under way",
    )

    async def looked_at() -> bool:
        reply = await listed(crowded)
        assert document.id not in {each.execution_id for each in reply.executions}
        return reply.open == reply.examined

    await eventually(looked_at, what="all are in visibility")


@pytest.fixture
def three_principals() -> Principals:
    def hashed(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    return Principals(
        [
            Principal(name="alice", key_sha256=[hashed("a")]),
            Principal(name="bob", key_sha256=[hashed("b")]),
            Principal(name="root", key_sha256=[hashed("r")], actions=frozenset({Action.ADMIN})),
            Principal(
                name="starter",
                key_sha256=[hashed("s")],
                actions=frozenset({Action.EXECUTIONS_START}),
            ),
        ]
    )


async def test_each_principal_sees_its_own_oldest_first(
    temporal_server: Any, tmp_path: Path, three_principals: Principals
) -> None:
    async with running_api(temporal_server.address, tmp_path, principals=three_principals) as api:
        alice, bob, root, starter = [
            {"metadata": [("authorization", f"Bearer {key}")]} for key in "abrs"
        ]
        agent = Agent(name="reviewer", spec=AgentSpec(model="scripted:x"))
        await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **root)
        started = [
            await api.executions.StartAgent(StartAgentRequest(agent_id="reviewer"), **who)
            for who in (alice, bob, alice)
        ]

        async def seen(who: Any, **fields: Any) -> pb.ListStuckExecutionsResponse:
            request = pb.ListStuckExecutionsRequest(**fields)
            if "min_age" not in fields:
                request.min_age.FromTimedelta(timedelta())
            reply: pb.ListStuckExecutionsResponse = await diagnosis(api).ListStuckExecutions(
                request, **who
            )
            return reply

        async def root_sees_all() -> bool:
            return len((await seen(root)).executions) == len(started)

        await eventually(root_sees_all, what="three are stuck")
        everything = await seen(root)
        assert [each.execution_id for each in everything.executions] == [e.id for e in started]
        assert (everything.examined, everything.open) == (3, 3)
        hers = await seen(alice)
        assert [each.execution_id for each in hers.executions] == [started[0].id, started[2].id]
        assert hers.open == 2
        oldest = await seen(root, limit=1)
        assert [each.execution_id for each in oldest.executions] == [started[0].id]
        assert (oldest.examined, oldest.open) == (1, 3)
        two = await seen(root, limit=2)
        assert [each.execution_id for each in two.executions] == [e.id for e in started[:2]]
        young = await diagnosis(api).ListStuckExecutions(pb.ListStuckExecutionsRequest(), **root)
        assert (len(young.executions), young.examined, young.open) == (0, 0, 3)

        get = pb.GetExecutionTimelineRequest(id=started[1].id)
        for who in (bob, root):
            assert (await diagnosis(api).GetExecutionTimeline(get, **who)).execution_id
        async with refused(Code.NOT_FOUND):
            await diagnosis(api).GetExecutionTimeline(get, **alice)
        for call in (
            diagnosis(api).GetExecutionTimeline(get, **starter),
            diagnosis(api).ListStuckExecutions(pb.ListStuckExecutionsRequest(), **starter),
        ):
            async with refused(Code.PERMISSION_DENIED):
                await call
        assert (await seen(bob, min_age=timedelta(hours=1))).examined == 0


async def test_bounds_of_the_request(api: Api) -> None:
    for fields, at in (
        ({"limit": -1}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"min_age": timedelta(seconds=-1)}, "min_age"),
        ({"min_age": timedelta(days=400)}, "min_age"),
    ):
        async with refused(Code.INVALID_ARGUMENT) as refusal:
            await listed(api, **fields)
        assert refusal.fields == [at]
    huge = pb.ListStuckExecutionsRequest()
    huge.min_age.seconds = 10**15
    async with refused(Code.INVALID_ARGUMENT) as refusal:
        await diagnosis(api).ListStuckExecutions(huge)
    assert refusal.fields == ["min_age"]


async def test_what_temporal_does_not_tell_is_left_out(
    temporal_server: Any,
    tmp_path: Path,
    callers: Callers,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        FaultProxy(temporal_server.address) as proxy,
        running_api(proxy.address, tmp_path) as api,
    ):
        assert (await listed(api)).open == 0
        await api.apply("reviewer")
        caller = await callers.start()
        async with worker(client, api.queues.orchestrator, Staged()):
            waited_for = await api.executions.StartAgent(
                caller.request(agent_id="reviewer", message="")
            )
            asking = await start(api, "ask")
            await stuck_as(api, asking.id, pb.STUCK_REASON_INPUT_REQUIRED)
        await caller.handle.terminate()
        of_caller = caller.handle.id.encode()
        for code in (Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION):
            proxy.inject(
                "DescribeWorkflowExecution",
                Fail(code),
                times=None,
                matches=lambda sent: of_caller in sent,
            )
            reply = await listed(api)
            assert waited_for.id not in {each.execution_id for each in reply.executions}
            assert reply.examined == (2 if code is Code.PERMISSION_DENIED else 1)
            proxy.clear()
        await stuck_as(api, waited_for.id, pb.STUCK_REASON_CALLER_GONE)
        proxy.inject("DescribeWorkflowExecution", Fail(Code.PERMISSION_DENIED), times=None)
        async with refused(Code.INTERNAL):
            await listed(api)
        proxy.clear()
        monkeypatch.setattr(stuck, "_SCAN_TIMEOUT", timedelta(milliseconds=300))
        of_one = asking.id.encode()
        proxy.pause("DescribeWorkflowExecution", matches=lambda sent: of_one in sent)

        async def the_other_in_time() -> int:
            slow = await listed(api)
            assert (slow.open, slow.examined) in {(2, 0), (2, 1)}
            return slow.examined

        await eventually(the_other_in_time, what="the other one")


def test_durations_are_told_in_two_units() -> None:
    assert duration_text(timedelta()) == "0 s"
    assert duration_text(timedelta(seconds=61)) == "1 min 1 s"
    assert duration_text(timedelta(days=2, hours=3, minutes=4)) == "2 d 3 h"
