"""Streams when the server stops: they end at once, so that their clients go on elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.stigma_api.tests.api_server import refused, running_api
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    StartWorkflowRequest,
    WatchWorkflowExecutionRequest,
)
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_api.access.streams import OpenStreams
from stigma_api.errors import ApiError

GRACE = timedelta(seconds=60)


class Replies:
    """A stream of one reply, and then none."""

    def __init__(self) -> None:
        self.closed = False

    async def all(self) -> AsyncGenerator[object, None]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_streams_end_when_the_server_stops() -> None:
    streams, replies = OpenStreams(timedelta(hours=1)), Replies()
    bounded = aiter(streams.bounded(replies.all()))
    assert await anext(bounded) == "first"
    waiting = asyncio.ensure_future(anext(bounded))
    await asyncio.sleep(0)
    streams.end_all()
    with pytest.raises(ApiError, match="the server stops: resume with the last cursor") as ended:
        await waiting
    assert ended.value.code is grpc.StatusCode.UNAVAILABLE
    assert replies.closed


async def test_streams_whose_reply_is_under_way_and_new_ones_end_too() -> None:
    streams, replies = OpenStreams(timedelta(hours=1)), Replies()
    bounded = aiter(streams.bounded(replies.all()))
    assert await anext(bounded) == "first"
    streams.end_all()
    for each in (bounded, aiter(streams.bounded(Replies().all()))):
        with pytest.raises(ApiError, match="the server stops"):
            await anext(each)
    assert replies.closed


async def test_watches_of_both_kinds_do_not_hold_up_a_stop(
    temporal_server: Any, client: Any, tmp_path: Path
) -> None:
    async with running_api(temporal_server.address, tmp_path) as api:
        await api.apply("reviewer")
        agent = await api.executions.StartAgent(StartAgentRequest(agent_id="reviewer"))
        request = StartWorkflowRequest(spec=WorkflowSpec(document="hold"))
        workflow = await api.workflow_executions.StartWorkflow(request)
        watch = WatchWorkflowExecutionRequest(id=workflow.id)
        streams = [
            api.executions.WatchAgentExecution(WatchAgentExecutionRequest(id=agent.id)),
            api.workflow_executions.WatchWorkflowExecution(watch),
        ]
        for stream in streams:
            assert (await stream.read()).cursor
        reads = [asyncio.ensure_future(stream.read()) for stream in streams]
        begin = asyncio.get_running_loop().time()
        await api.server.stop(GRACE)
        assert asyncio.get_running_loop().time() - begin < GRACE.total_seconds() / 2
        for read in reads:
            async with refused(grpc.StatusCode.UNAVAILABLE) as refusal:
                await read
            assert refusal.message == "the server stops: resume with the last cursor"
        for execution in (agent, workflow):
            await client.get_workflow_handle(execution.id).terminate()
