"""Steps that open executions wait for, in every situation that is staged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode as Code
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api, requests_to_temporal, running_api
from services.stigma_api.tests.event_texts import end, start, timeline_with
from services.stigma_api.tests.fake_workflows import timeline_of
from stigma.agent.v1 import agent_execution_pb2 as pb
from stigma.agent.v1.agent_execution_service_pb2 import GetAgentExecutionRequest
from stigma.contracts import payloads, pending_inputs
from stigma.contracts.executions import Execution, Kind
from stigma.internal.v1.execution_pb2 import PendingInputs
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    GetWorkflowExecutionRequest,
    StartWorkflowRequest,
)
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_api.diagnosis.pending import document
from stigma_api.diagnosis.pending.steps import PendingSteps
from stigma_api.executions.reader import Reader
from stigma_api.kinds import AGENTS
from stigma_api.temporal.clock import TemporalClock
from tests.stack.faults import Fail, FaultProxy
from tests.stack.waiting import eventually


async def get(api: Api, execution_id: str, *, pending_steps: bool = True) -> Execution:
    found: Execution
    if Kind.of_id(execution_id) is Kind.WORKFLOW:
        of_workflow = GetWorkflowExecutionRequest(id=execution_id, pending_steps=pending_steps)
        found = await api.workflow_executions.GetWorkflowExecution(of_workflow, timeout=15)
    else:
        of_agent = GetAgentExecutionRequest(id=execution_id, pending_steps=pending_steps)
        found = await api.executions.GetAgentExecution(of_agent, timeout=15)
    assert b"secret" not in found.SerializeToString()
    return found


async def steps_when(
    api: Api, execution_id: str, is_wanted: Callable[[Sequence[pb.PendingStep]], Any]
) -> Sequence[pb.PendingStep]:
    """The pending steps, once they are the wanted ones."""
    seen: list[Execution] = []

    async def wanted() -> Sequence[pb.PendingStep] | None:
        seen[:] = [await get(api, execution_id)]
        steps = seen[0].status.pending_steps
        return steps if is_wanted(steps) else None

    return await eventually(wanted, what=lambda: f"the steps, not {seen}")


async def start_document(api: Api, document: str) -> str:
    request = StartWorkflowRequest(spec=WorkflowSpec(document=document))
    return str((await api.workflow_executions.StartWorkflow(request)).id)


async def end_document(client: Client, execution_id: str) -> None:
    await client.get_workflow_handle(f"run-{execution_id.partition('-')[2]}").terminate()


async def test_a_model_call_that_is_retried(staged_api: Api, client: Client) -> None:
    started = await start(staged_api, "call:RATE_LIMITED")
    [step] = await steps_when(staged_api, started.id, lambda steps: steps and steps[0].last_failure)
    assert step.kind == pb.PENDING_STEP_KIND_MODEL_CALL
    assert step.title == "model call 1, scripted:demo"
    assert (step.attempt, step.last_failure) == (2, "RATE_LIMITED")
    until = step.due_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(seconds=30) < until < timedelta(seconds=70)
    assert not step.task_queue
    assert step.start_time.ToNanoseconds() >= started.status.start_time.ToNanoseconds()
    await client.get_workflow_handle(started.id).terminate()
    assert not (await get(staged_api, started.id)).status.pending_steps


async def test_a_model_call_under_way(staged_api: Api, client: Client) -> None:
    started = await start(staged_api, "call:HOLD")
    [step] = await steps_when(
        staged_api, started.id, lambda steps: steps and not steps[0].task_queue
    )
    assert (step.title, step.attempt) == ("model call 1, scripted:demo", 1)
    assert step.last_failure == ""
    assert not step.HasField("due_time")
    await client.get_workflow_handle(started.id).terminate()


async def test_only_who_asks_gets_steps_and_pays_for_them(staged_api: Api, client: Client) -> None:
    started = await start(staged_api, "call:HOLD")
    await steps_when(staged_api, started.id, len)
    before = await requests_to_temporal(staged_api)
    assert not (await get(staged_api, started.id, pending_steps=False)).status.pending_steps
    spent = await requests_to_temporal(staged_api) - before
    assert "GetWorkflowExecutionHistoryReverse" not in spent
    assert "DescribeTaskQueue" not in spent
    await client.get_workflow_handle(started.id).terminate()


async def test_a_delivery_that_is_retried(staged_api: Api, client: Client) -> None:
    started = await start(staged_api, "deliver:TEMPORAL_UNAVAILABLE")
    [step] = await steps_when(staged_api, started.id, lambda steps: steps and steps[0].last_failure)
    assert step.kind == pb.PENDING_STEP_KIND_DELIVERY
    assert (step.title, step.last_failure) == (
        "the delivery to its caller",
        "TEMPORAL_UNAVAILABLE",
    )
    await client.get_workflow_handle(started.id).terminate()


async def test_nothing_is_pending_where_an_execution_waits_for_a_signal(
    staged_api: Api, client: Client
) -> None:
    started = await start(staged_api, "watch")
    await timeline_with(staged_api, started.id, "CANCEL_REQUESTED")
    assert not (await get(staged_api, started.id)).status.pending_steps
    await end(client, started.id)


async def test_the_call_and_the_timer_of_a_document(staged_api: Api, client: Client) -> None:
    execution_id = await start_document(staged_api, "calls")
    steps = await steps_when(
        staged_api,
        execution_id,
        lambda steps: any(each.last_failure == "communication" for each in steps),
    )
    timer, call = sorted(steps, key=lambda each: -each.kind)
    assert call.kind == pb.PENDING_STEP_KIND_HTTP_CALL
    assert (call.title, call.task) == ("HTTP call /do/0/fetch", "/do/0/fetch")
    assert (call.attempt, call.last_status) == (2, 500)
    assert call.HasField("due_time")
    assert timer.kind == pb.PENDING_STEP_KIND_TIMER
    fires = timer.start_time.ToDatetime() + timedelta(hours=1)
    assert timer.due_time.ToDatetime() == fires
    assert timer.title == f"timer up to {fires:%Y-%m-%dT%H:%M:%S}Z"
    await end_document(client, execution_id)


async def test_a_timer_names_the_failed_call_that_it_follows(
    staged_api: Api, client: Client
) -> None:
    execution_id = await start_document(staged_api, "tries again")
    [timer] = await steps_when(
        staged_api,
        execution_id,
        lambda steps: steps and steps[0].kind == pb.PENDING_STEP_KIND_TIMER,
    )
    until = f"{timer.due_time.ToDatetime():%Y-%m-%dT%H:%M:%S}Z"
    assert timer.title == f"timer up to {until} after the failed OpenAPI call /do/0/order"
    assert (timer.last_failure, timer.last_status) == ("timeout", 408)
    assert timer.task == "/do/0/order"
    found = await timeline_of(staged_api, execution_id)
    assert found.entries[-1].title == timer.title
    await end_document(client, execution_id)


async def test_a_call_whose_worker_was_lost(staged_api: Api, client: Client) -> None:
    execution_id = await start_document(staged_api, "loses")
    [step] = await steps_when(
        staged_api, execution_id, lambda steps: steps and steps[0].last_failure
    )
    assert (step.title, step.last_failure) == ("fetch for /do/0/read", "its worker was lost")
    assert step.kind == pb.PENDING_STEP_KIND_RESOURCE
    await end_document(client, execution_id)


async def test_no_more_than_twenty_steps_are_returned(staged_api: Api, client: Client) -> None:
    execution_id = await start_document(staged_api, "many")

    async def all_of_them() -> Any:
        found = await get(staged_api, execution_id)
        return found if found.status.more_pending_steps else None

    found = await eventually(all_of_them, what="more than twenty steps")
    assert len(found.status.pending_steps) == 20
    assert found.status.more_pending_steps == 3
    await end_document(client, execution_id)


async def test_an_execution_that_no_worker_takes(api: Api) -> None:
    started = await start(api, "m")
    of_document = await start_document(api, "d")
    for execution_id in (started.id, of_document):
        [step] = (await get(api, execution_id)).status.pending_steps
        assert step.kind == pb.PENDING_STEP_KIND_WORKFLOW_TASK
        assert step.title == f"a worker of workflow {execution_id}"
        assert (step.task_queue, step.no_worker) == (api.queues.orchestrator, True)


async def test_code_that_fails(staged_api: Api, client: Client) -> None:
    started = await start(staged_api, "break")
    [step] = await steps_when(staged_api, started.id, lambda steps: steps and steps[0].attempt > 1)
    assert step.kind == pb.PENDING_STEP_KIND_WORKFLOW_TASK
    assert step.last_failure == "its code fails on this version"
    await client.get_workflow_handle(started.id).terminate()


async def test_a_step_that_began_long_ago_is_shown_without_its_task(
    staged_api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "_MAX_EVENTS", 1)
    execution_id = await start_document(staged_api, "retries")
    steps = await steps_when(
        staged_api, execution_id, lambda steps: any(each.last_failure for each in steps)
    )
    [step] = [each for each in steps if each.kind != pb.PENDING_STEP_KIND_TIMER]
    assert (step.title, step.task) == ("a call by activity call_http", "")
    assert step.kind == pb.PENDING_STEP_KIND_HTTP_CALL
    assert (step.last_failure, step.attempt) == ("communication", 2)
    assert not step.HasField("start_time")
    await end_document(client, execution_id)


async def test_a_role_that_may_not_see_task_queues(
    temporal_proxy: FaultProxy, tmp_path: Path
) -> None:
    async with running_api(temporal_proxy.address, tmp_path) as api:
        await api.apply("reviewer")
        started = await start(api, "hello")
        temporal_proxy.inject("DescribeTaskQueue", Fail(Code.PERMISSION_DENIED), times=None)
        try:
            [step] = await steps_when(api, started.id, len)
        finally:
            temporal_proxy.clear()
        assert (step.task_queue, step.no_worker) == (api.queues.orchestrator, False)


async def test_inputs_are_listed_where_no_worker_answers(api: Api, client: Client) -> None:
    started = await start(api, "m")
    waiting = PendingInputs(inputs=[pb.PendingInput(id="1", tool="refund")])
    found = await Reader(client, AGENTS).get(started.id)
    [payload] = await client.data_converter.encode([payloads.to_binary_payload(waiting)])
    memo = found.described.workflow_execution_info.memo.fields
    memo[pending_inputs.MEMO].CopyFrom(payload)
    clock = TemporalClock(client, CollectorRegistry())
    await PendingSteps(client, clock).add(found, found.execution)
    assert [each.tool for each in found.execution.status.pending_inputs] == ["refund"]
