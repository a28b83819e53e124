"""How long StartAgent takes to answer, beside the signal-with-start that it must do anyway."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.handshake_modes import AGENT
from benchmarks.handshake_site import Site
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.contracts import payloads
from stigma.contracts.workflows import AgentWorkflow
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Bind

_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class Acknowledgement:
    """Seconds of both, measured one after the other."""

    start_agent_seconds: float
    signal_with_start_seconds: float


@workflow.defn
class _Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity_method(_Tokens.wait, start_to_close_timeout=_TIMEOUT)


class _Tokens:
    """An activity that stays pending and leaves its token here."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)

    @activity.defn
    async def wait(self) -> None:
        await self.taken.put(activity.info().task_token)
        activity.raise_complete_async()


async def measure_acknowledgement(site: Site, calls: int) -> list[Acknowledgement]:
    """Alternate both so many times, each on the token of an activity that waits."""
    tokens = _Tokens()
    task_queue = f"{site.task_queue}-acknowledgement"
    client = await Client.connect(
        site.stack.temporal_address, data_converter=payloads.DATA_CONVERTER
    )
    async with Worker(
        client, task_queue=task_queue, workflows=[_Waiting], activities=[tokens.wait]
    ):
        measured = []
        for _ in range(calls + 1):
            bare = await _signal_with_start(client, await _token(client, task_queue, tokens))
            ours = await _start_agent(site, await _token(client, task_queue, tokens))
            measured.append(Acknowledgement(ours, bare))
        return measured[1:]  # the first one opens the connections


async def _token(client: Client, task_queue: str, tokens: _Tokens) -> bytes:
    await client.start_workflow(
        _Waiting.run, id=f"waiting-{uuid.uuid4().hex}", task_queue=task_queue
    )
    return await tokens.taken.get()


async def _start_agent(site: Site, token: bytes) -> float:
    request = StartAgentRequest(
        agent_id=AGENT, callback_token=token, message="hello", request_id=uuid.uuid4().hex
    )
    request.callback_deadline.FromDatetime(datetime.now(UTC) + _TIMEOUT)
    began = time.perf_counter()
    await site.stack.executions.StartAgent(request)
    return time.perf_counter() - began


async def _signal_with_start(client: Client, token: bytes) -> float:
    workflow_id = f"bare-{uuid.uuid4().hex}"
    began = time.perf_counter()
    await client.start_workflow(
        AgentWorkflow.run,
        AgentWorkflowInput(execution_id=workflow_id),
        id=workflow_id,
        task_queue="nobody-polls-here",
        start_signal="bind",
        start_signal_args=[Bind(token=token)],
        execution_timeout=_TIMEOUT,
    )
    return time.perf_counter() - began
