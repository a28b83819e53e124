"""A running API on a free port, and expectations of its errors."""

from __future__ import annotations

import asyncio
import re
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.agent.v1.agent_pb2 import (
    Agent,
    AgentSpec,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma.contracts.task_queues import TaskQueues
from stigma.runtime import GrpcServerComponent, ServiceRuntime
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from stigma_api.access.principals import Principals
from stigma_api.http_server import ConsoleServer
from stigma_api.server import build
from stigma_api.settings import ApiSettings

SCRIPTED = AgentSpec(model="scripted:demo", env=["CITY"], allowed_models=["scripted:other"])


@dataclass
class Api:
    """A running API and a channel to it."""

    runtime: ServiceRuntime
    port: int
    queues: TaskQueues
    channel: grpc.aio.Channel
    server: GrpcServerComponent
    console: ConsoleServer | None = None
    agents: Any = field(init=False)
    executions: Any = field(init=False)
    workflows: Any = field(init=False)
    workflow_executions: Any = field(init=False)

    def __post_init__(self) -> None:
        self.agents = AgentServiceStub(self.channel)
        self.executions = AgentExecutionServiceStub(self.channel)
        self.workflows = WorkflowServiceStub(self.channel)
        self.workflow_executions = WorkflowExecutionServiceStub(self.channel)

    async def apply(self, name: str, spec: AgentSpec = SCRIPTED) -> Agent:
        applied: Agent = await self.agents.ApplyAgent(
            ApplyAgentRequest(agent=Agent(name=name, spec=spec))
        )
        return applied


@asynccontextmanager
async def running_api(
    temporal_address: str,
    directory: Path,
    *,
    principals: Principals | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    **settings: Any,
) -> AsyncIterator[Api]:
    """Serve in this process, as `python -m stigma_api` does."""
    given = {
        "api_port": 0,
        "registry_url": f"sqlite+aiosqlite:///{directory}/registry.db",
        "task_queue_prefix": f"{uuid.uuid4().hex[:8]}-",
        "cluster_metrics_interval": 0,  # what these tests count is what their calls cost
        **settings,
    }
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TEMPORAL_ADDRESS", temporal_address)
        own = ApiSettings(**given)
        runtime = ServiceRuntime("stigma_api", own)
        server, *others = await build(runtime, settings=own, principals=principals)
    assert isinstance(server, GrpcServerComponent)
    for component in (server, *others):
        await component.start()
    address = f"localhost:{server.port}"
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    channel = (
        grpc.aio.secure_channel(address, credentials, options)
        if credentials
        else grpc.aio.insecure_channel(address.replace("localhost", "127.0.0.1"), options)
    )
    async with channel:
        queues = TaskQueues(own.task_queue_prefix)
        console = next((one for one in others if isinstance(one, ConsoleServer)), None)
        yield Api(
            runtime=runtime,
            port=server.port,
            queues=queues,
            channel=channel,
            server=server,
            console=console,
        )
    for component in (server, *others):
        await component.stop(timedelta(seconds=1))
    await runtime.close()


async def requests_to_temporal(api: Api) -> Counter[str]:
    """How often the API has called Temporal, by operation, as the SDK counts it."""
    address = api.runtime._temporal.metrics_address
    reply = await asyncio.to_thread(urllib.request.urlopen, f"http://{address}/metrics")
    with reply:
        lines = reply.read().decode().splitlines()
    counts: Counter[str] = Counter()
    for line in lines:
        found = re.match(r'temporal_(?:long_)?request_total\{.*operation="(\w+)".* (\d+)$', line)
        if found:
            counts[found[1]] += int(found[2])
    return counts


@asynccontextmanager
async def refused(code: grpc.StatusCode) -> AsyncIterator[Refusal]:
    """Expect an RPC to answer this code."""
    refusal = Refusal()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield refusal
    refusal.error = caught.value
    assert caught.value.code() == code, caught.value


class Refusal:
    """What an RPC answered instead of succeeding."""

    error: grpc.aio.AioRpcError

    @property
    def message(self) -> str:
        return self.error.details() or ""

    @property
    def fields(self) -> list[str]:
        return [field for field, _ in self.violations]

    @property
    def violations(self) -> list[tuple[str, str]]:
        [detail] = self._details(BadRequest)
        return [(each.field, each.description) for each in detail.field_violations]

    @property
    def reason(self) -> str:
        [info] = self._details(ErrorInfo)
        return str(info.reason)

    @property
    def retry_after(self) -> timedelta:
        [info] = self._details(RetryInfo)
        delay: timedelta = info.retry_delay.ToTimedelta()
        return delay

    def _details(self, kind: Any) -> list[Any]:
        status = rpc_status.from_call(self.error)
        found = []
        for packed in status.details if status else ():
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                found.append(detail)
        return found
