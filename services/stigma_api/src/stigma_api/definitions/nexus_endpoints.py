"""Nexus endpoints that tools name, looked up in Temporal.

A workflow that schedules an operation of an absent endpoint does not get an error: its task fails
for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import structlog
from temporalio.api.operatorservice.v1 import ListNexusEndpointsRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_pb2 import Tool
from stigma_api import errors
from stigma_api.temporal.calls import temporal_call

# Timeout of all the look-ups of one agent.
_TIMEOUT = timedelta(seconds=3)
_MAX_CONCURRENCY = 8
# Answers of a Temporal that keeps its endpoints elsewhere, or from the likes of us.
_NOT_TOLD = frozenset(
    {
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.INVALID_ARGUMENT,
    }
)


class NexusEndpoints:
    """Looks endpoints up through Temporal's operator service."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._log = structlog.get_logger()

    async def check(self, tools: Iterable[Tool]) -> None:
        """Check that every endpoint exists; where it may not be asked for, it is taken to exist.

        Args:
            tools: of an agent, otherwise valid.

        Raises:
            ApiError: FAILED_PRECONDITION, an endpoint does not exist; UNAVAILABLE or
                RESOURCE_EXHAUSTED, Temporal does not tell.
        """
        first: dict[str, str] = {}
        for tool in tools:
            if tool.HasField("nexus"):
                first.setdefault(tool.nexus.endpoint, tool.name)
        if not first:
            return
        slots = asyncio.Semaphore(_MAX_CONCURRENCY)
        async with temporal_call(_TIMEOUT):
            exist = await asyncio.gather(*(self._exists(name, slots) for name in first))
        absent = [name for name, exists in zip(first, exist, strict=True) if not exists]
        if absent:
            listed = ", ".join(f"{name} of tool {first[name]}" for name in absent)
            message = f"Temporal has no Nexus endpoint {listed}"
            raise errors.failed_precondition("NEXUS_ENDPOINT_NOT_FOUND", message)

    async def _exists(self, name: str, slots: asyncio.Semaphore) -> bool:
        request = ListNexusEndpointsRequest(name=name, page_size=1)
        async with slots:
            try:
                reply = await self._client.operator_service.list_nexus_endpoints(
                    request, retry=True
                )
            except RPCError as error:
                if error.status == RPCStatusCode.NOT_FOUND:
                    return False
                if error.status not in _NOT_TOLD:
                    raise
                self._log.warning("nexus_endpoint_not_checked", code=error.status.name)
                return True
        return any(endpoint.spec.name == name for endpoint in reply.endpoints)
