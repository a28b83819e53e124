"""The scenarios that were asked for, on the images: success to corrupt token."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import grpc
import grpc.aio
import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    CALLBACK_STATE_DELIVERED,
    CALLBACK_STATE_UNSPECIFIED,
)
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from tests.containers.stack import ContainerStack
from tests.reliability.calls import executions_on
from tests.reliability.fault_site import CALLER, Deployment
from tests.stack.stack import SERVICES

Deployed = Deployment[ContainerStack]
AT_ONCE = 10


async def test_success(deployment: Deployed) -> None:
    for start in (deployment.callers.engine, deployment.callers.worker):
        execution = await (await start()).check()
        told = await deployment.outcome(execution.id)
        assert told.phase == AGENT_EXECUTION_PHASE_COMPLETED
        assert told.callback.state == CALLBACK_STATE_DELIVERED


async def test_failure(deployment: Deployed) -> None:
    call = await deployment.callers.worker(failure="FAILURE_REASON_INVALID_REQUEST")
    result = await call.result()
    assert (result["error"], result["reason"]) == ("AGENT_EXECUTION_FAILED", "INVALID_REQUEST")
    told = await deployment.outcome(result["execution_id"])
    assert told.phase == AGENT_EXECUTION_PHASE_FAILED
    assert told.callback.state == CALLBACK_STATE_DELIVERED


async def test_no_token(deployment: Deployed) -> None:
    request = inline("hello")
    deployment.callers.started += 1
    execution = await deployment.stack.executions.StartAgent(request, wait_for_ready=True)
    told = await deployment.outcome(execution.id)
    assert (told.phase, told.output.text) == (AGENT_EXECUTION_PHASE_COMPLETED, "hello")
    assert told.callback.state == CALLBACK_STATE_UNSPECIFIED


async def test_timeout(deployment: Deployed) -> None:
    call = await deployment.callers.worker(timeout=4, delay=90)
    result = await call.result()
    assert result["error"] == "AGENT_EXECUTION_TIMEOUT"
    told = await deployment.outcome(result["execution_id"])
    assert told.phase == AGENT_EXECUTION_PHASE_TIMED_OUT


async def test_services_restart(deployment: Deployed) -> None:
    """All of them, in the middle of a call; none is killed, and each exits with 0."""
    callers, stack = deployment.callers, deployment.stack
    calls = [await callers.engine(delay=2), await callers.worker(delay=2)]
    for call in calls:
        await stack.wait_for_event(
            "ai_worker", "model_call_started", execution_id=await callers.execution_id(call)
        )
    await stack.restart(*SERVICES, CALLER)
    executions = [await call.check() for call in calls]
    assert all(one.status.usage.model_calls == 1 for one in executions)


async def test_ten_at_once(deployment: Deployed) -> None:
    callers = deployment.callers
    starts = [callers.engine if number % 2 else callers.worker for number in range(AT_ONCE)]
    calls = await asyncio.gather(*(start(delay=1) for start in starts))
    executions = await asyncio.gather(*(call.check() for call in calls))
    assert len({one.id for one in executions}) == AT_ONCE


async def test_corrupt_token(deployment: Deployed) -> None:
    before = set(await executions_on(deployment.stack))
    request = inline("hello")
    request.callback_token = b"\x0a\x03corrupt"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await deployment.stack.executions.StartAgent(request, wait_for_ready=True)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    # A container's log comes after its answer.
    await deployment.stack.wait_for_event(
        "stigma_api", "token_rejected", request_id=request.request_id
    )
    rejected = deployment.stack.events("token_rejected", request_id=request.request_id)
    assert len(rejected) == 1
    assert set(await executions_on(deployment.stack)) == before


async def test_a_moment_without_network(deployment: Deployed) -> None:
    """Of every service, one after the other, while agents work."""
    callers, stack = deployment.callers, deployment.stack
    calls = [await callers.engine(delay=5), await callers.worker(delay=5)]
    for call in calls:
        await callers.execution_id(call)
    for service in (*SERVICES, CALLER):
        await stack.container(service).cut()
        await stack.container(service).reconnect()
    for call in calls:
        await call.check(timedelta(seconds=120))


def inline(message: str) -> StartAgentRequest:
    """A request of an agent that says the message, for nobody who waits."""
    request = StartAgentRequest(request_id=f"direct-{uuid.uuid4()}", message=message)
    request.spec.model = "scripted:containers"
    return request
