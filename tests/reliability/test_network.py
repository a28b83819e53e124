"""Short network trouble between services and Temporal: retried, and done once all the same."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    CALLBACK_STATE_DELIVERED,
    CALLBACK_STATE_RESOLVED_OR_GONE,
    CALLBACK_STATE_UNDELIVERABLE,
)
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_UNDELIVERABLE
from tests.reliability.calls import COMPLETED, FAILED, events
from tests.reliability.fault_site import CALLER, FaultSite
from tests.stack.faults import Fail, LoseReply

START = "SignalWithStartWorkflowExecution"
START_ALONE = "StartWorkflowExecution"
PROBE = "RecordActivityTaskHeartbeat"
COMPLETE = "RespondActivityTaskCompleted"
FAIL = "RespondActivityTaskFailed"
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED
HEARTBEAT = 4.0
FAILED_AGENT = "FAILURE_REASON_INVALID_REQUEST"


def is_outcome(request: bytes) -> bool:
    return b"AGENT_EXECUTION_FAILED" in request


# --- the orchestrator's delivery


async def test_a_success_is_delivered_after_two_failed_tries(site: FaultSite) -> None:
    site.temporal_of_orchestrator.inject(COMPLETE, Fail(), times=2)
    execution = await (await site.callers.worker()).check()
    told = await site.outcome(execution.id)
    assert told.callback.state == CALLBACK_STATE_DELIVERED


async def test_a_success_is_delivered_after_the_short_try_was_over(site: FaultSite) -> None:
    """The local activity ends after 5 s without; a regular one goes on from there."""
    delivery = site.temporal_of_orchestrator
    delivery.inject(COMPLETE, Fail(), times=None)
    call = await site.callers.worker()
    log = site.stack.process("stigma_orchestrator").log
    failed = await log.wait_for(
        "delivery_failed", request_id=await request_id(site, call.handle.id)
    )
    delivery.clear()
    execution = await call.check()
    assert execution.id == failed["execution_id"]
    assert (await site.outcome(execution.id)).callback.state == CALLBACK_STATE_DELIVERED


async def test_a_success_whose_reply_is_lost(site: FaultSite) -> None:
    """Our second try finds the activity resolved: by us, but that cannot be told apart."""
    site.temporal_of_orchestrator.inject(COMPLETE, LoseReply())
    execution = await (await site.callers.worker()).check()
    told = await site.outcome(execution.id)
    assert told.phase == AGENT_EXECUTION_PHASE_COMPLETED
    assert told.callback.state == CALLBACK_STATE_RESOLVED_OR_GONE


async def test_a_failure_is_delivered_after_failed_tries(site: FaultSite) -> None:
    site.temporal_of_orchestrator.inject(FAIL, Fail(), times=3, matches=is_outcome)
    call = await site.callers.worker(failure=FAILED_AGENT)
    result = await call.result()
    assert (result["error"], result["reason"]) == ("AGENT_EXECUTION_FAILED", "INVALID_REQUEST")
    told = await site.outcome(result["execution_id"])
    assert told.callback.state == CALLBACK_STATE_DELIVERED


async def test_a_failure_whose_reply_is_lost(site: FaultSite) -> None:
    site.temporal_of_orchestrator.inject(FAIL, LoseReply(), matches=is_outcome)
    call = await site.callers.worker(failure=FAILED_AGENT)
    result = await call.result()
    assert (result["error"], result["reason"]) == ("AGENT_EXECUTION_FAILED", "INVALID_REQUEST")
    assert len(await events(call.handle, FAILED)) == 1
    told = await site.outcome(result["execution_id"])
    assert told.phase == AGENT_EXECUTION_PHASE_FAILED
    assert told.callback.state == CALLBACK_STATE_RESOLVED_OR_GONE


async def test_a_success_that_temporal_refuses_stays_readable(site: FaultSite) -> None:
    """And the caller's next attempt gets it."""
    site.temporal_of_orchestrator.inject(COMPLETE, Fail(PERMISSION_DENIED), times=None)
    call = await site.callers.worker(heartbeat_timeout=HEARTBEAT)
    assert (await call.check()).status.callback.state == CALLBACK_STATE_UNDELIVERABLE
    told = await site.outcome((await call.result())["execution_id"])
    assert told.failure.reason == FAILURE_REASON_UNDELIVERABLE
    assert told.output.text == call.right_answer
    attempts = site.stack.events("token_taken", workflow_id=call.handle.id)
    assert [one["attempt"] for one in attempts] == [1, 2]


async def test_the_orchestrators_network_is_cut_while_it_delivers(site: FaultSite) -> None:
    delivery = site.temporal_of_orchestrator.pause(COMPLETE)
    call = await site.callers.worker()
    await asyncio.wait_for(delivery.reached.wait(), 60)
    await site.temporal_of_orchestrator.cut()
    site.temporal_of_orchestrator.clear()
    await site.temporal_of_orchestrator.start()
    execution = await call.check()
    assert (await site.outcome(execution.id)).phase == AGENT_EXECUTION_PHASE_COMPLETED


# --- the API's start


async def test_a_probe_that_fails_is_retried_by_the_caller(site: FaultSite) -> None:
    site.temporal_of_api.inject(PROBE, Fail())
    call = await site.callers.worker()
    await call.check()
    caller = site.stack.events("token_taken", workflow_id=call.handle.id)
    assert [one["attempt"] for one in caller] == [1, 2]


@pytest.mark.parametrize("times", [2, 40], ids=["within the call", "longer than the call"])
async def test_a_start_that_fails_is_retried(site: FaultSite, times: int) -> None:
    site.temporal_of_api.inject(START, Fail(), times=times)
    call = await site.callers.worker()
    if times > 2:
        await call.until_back_off()
        site.temporal_of_api.clear()
    await call.check()


async def test_a_start_whose_reply_is_lost_is_the_same_execution(site: FaultSite) -> None:
    site.temporal_of_api.inject(START, LoseReply())
    call = await site.callers.worker()
    await call.check()
    assert len(await events(call.handle, COMPLETED)) == 1


async def test_a_request_without_a_token_is_replayed_to_the_same_execution(site: FaultSite) -> None:
    request = StartAgentRequest(request_id=f"replayed-{site.callers.started}", message="hello")
    request.spec.model = "scripted:reliability"
    site.callers.started += 1
    site.temporal_of_api.inject(START_ALONE, LoseReply(), times=None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.stack.executions.StartAgent(request)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    site.temporal_of_api.clear()
    first = await site.stack.executions.StartAgent(request)
    again = await site.stack.executions.StartAgent(request)
    assert again.id == first.id
    told = await site.outcome(first.id)
    assert (told.phase, told.output.text) == (AGENT_EXECUTION_PHASE_COMPLETED, "hello")


async def test_the_callers_network_loses_the_acknowledgement(site: FaultSite) -> None:
    site.api.inject("StartAgent", LoseReply())
    call = await site.callers.worker(delay=4)
    await call.check()
    caller = site.stack.events("token_taken", workflow_id=call.handle.id)
    assert [one["attempt"] for one in caller] == [1, 2]


async def request_id(site: FaultSite, workflow_id: str) -> str:
    """Of the only call of a workflow."""
    taken = await site.stack.wait_for_event(CALLER, "token_taken", workflow_id=workflow_id)
    return str(taken["request_id"])
