"""Reads of the registry of agents: work that costs the API and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stigma.agent.v1.agent_service_pb2 import ListAgentsRequest
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.stack.channels import open_channel

if TYPE_CHECKING:
    from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceAsyncStub

_READ_WITHIN_SECONDS = 30.0


@asynccontextmanager
async def reading(address: str, api_key: str, at_a_time: int) -> AsyncIterator[None]:
    """So many readers, each reading again when it is answered, as long as the context lasts."""
    enough = asyncio.Event()

    async def keep_reading(agents: AgentServiceAsyncStub) -> None:
        while not enough.is_set():
            await agents.ListAgents(ListAgentsRequest(page_size=1), timeout=_READ_WITHIN_SECONDS)

    async with open_channel(address, api_key=api_key) as channel, asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(keep_reading(AgentServiceStub(channel)))
        try:
            yield
        finally:
            enough.set()
