"""The proxy against a real Temporal server: what passes, and each harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetSystemInfoRequest,
    service_pb2_grpc,
)
from temporalio.client import Client

from tests.stack.faults import EVERY_METHOD, Delay, Fail, FaultProxy, LoseReply
from tests.stack.plugin import TemporalServer

DESCRIBE = "DescribeNamespace"


@pytest.fixture
async def proxy(temporal_server: TemporalServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(temporal_server.address) as proxy:
        yield proxy


@pytest.fixture
async def channel(proxy: FaultProxy) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        yield channel


def workflow_service(channel: grpc.aio.Channel) -> Any:
    return service_pb2_grpc.WorkflowServiceStub(cast("grpc.Channel", channel))


async def describe(channel: grpc.aio.Channel, namespace: str = "default") -> str:
    stub = workflow_service(channel)
    answer = await stub.DescribeNamespace(DescribeNamespaceRequest(namespace=namespace))
    return str(answer.namespace_info.name)


async def test_a_real_client_works_through_it(proxy: FaultProxy) -> None:
    client = await Client.connect(proxy.address)
    found = [run async for run in client.list_workflows("WorkflowId = 'none'")]
    assert found == []
    assert proxy.counts["ListWorkflowExecutions"].answered == 1


async def test_health_passes(channel: grpc.aio.Channel) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check
    service = "temporal.api.workflowservice.v1.WorkflowService"
    answer = await check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_servers_own_error_passes_with_details(
    proxy: FaultProxy, channel: grpc.aio.Channel
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await describe(channel, namespace="no-such-namespace")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert any(key == "grpc-status-details-bin" for key, _ in caught.value.trailing_metadata())
    assert proxy.statuses[DESCRIBE, grpc.StatusCode.NOT_FOUND] == 1


async def test_failing_a_number_of_times(proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
    proxy.inject(DESCRIBE, Fail(grpc.StatusCode.RESOURCE_EXHAUSTED), times=2)
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await describe(channel)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await describe(channel) == "default"
    counts = proxy.counts[DESCRIBE]
    assert (counts.received, counts.forwarded, counts.harmed) == (3, 1, 2)


async def test_harming_only_what_matches(proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
    proxy.inject(DESCRIBE, Fail(), times=None, matches=lambda request: b"other" in request)
    assert await describe(channel) == "default"
    with pytest.raises(grpc.aio.AioRpcError, match="injected"):
        await describe(channel, namespace="other")


async def test_harming_every_method(proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
    proxy.inject(EVERY_METHOD, Fail(), times=2)
    with pytest.raises(grpc.aio.AioRpcError, match="injected"):
        await describe(channel)
    with pytest.raises(grpc.aio.AioRpcError, match="injected"):
        await workflow_service(channel).GetSystemInfo(GetSystemInfoRequest())
    assert await describe(channel) == "default"


async def test_a_lost_reply_was_acted_upon(proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
    proxy.inject(DESCRIBE, LoseReply())
    with pytest.raises(grpc.aio.AioRpcError, match="reply lost"):
        await describe(channel)
    assert proxy.statuses[DESCRIBE, grpc.StatusCode.OK] == 1


async def test_a_delay(proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
    proxy.inject(DESCRIBE, Delay(timedelta(milliseconds=300)))
    started = asyncio.get_running_loop().time()
    assert await describe(channel) == "default"
    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_a_pause_holds_until_released(proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
    pause = proxy.pause(DESCRIBE)
    asked = asyncio.create_task(describe(channel))
    await asyncio.wait_for(pause.reached.wait(), 60)
    assert proxy.counts[DESCRIBE].forwarded == 0
    pause.release()
    assert await asked == "default"
    await proxy.wait_for(DESCRIBE, lambda counts: counts.answered == 1)


async def test_a_paused_call_ends_when_its_caller_hangs_up(
    proxy: FaultProxy, channel: grpc.aio.Channel
) -> None:
    pause = proxy.pause(DESCRIBE)
    asked = asyncio.create_task(describe(channel))
    await asyncio.wait_for(pause.reached.wait(), 60)
    assert pause.held == 1
    asked.cancel()
    await pause.abandoned()
    pause.release()
    assert await describe(channel) == "default"
    assert proxy.counts[DESCRIBE].forwarded == 1, "the second"


async def test_cut_and_back(proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
    stub = workflow_service(channel)
    await stub.GetSystemInfo(GetSystemInfoRequest())
    await proxy.cut()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetSystemInfo(GetSystemInfoRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await proxy.start()
    await stub.GetSystemInfo(GetSystemInfoRequest(), wait_for_ready=True, timeout=60)
