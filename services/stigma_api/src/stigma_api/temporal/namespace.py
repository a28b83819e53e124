"""The Temporal namespace of the API: its retention and search attributes."""

from __future__ import annotations

import time
from datetime import timedelta

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from stigma.contracts import search_attributes
from stigma.runtime import ServiceError
from stigma_api.temporal.calls import temporal_call

_FRESH = timedelta(minutes=1)
_RPC_TIMEOUT = timedelta(seconds=3)


class Namespace:
    """The namespace that executions live in."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._retention: timedelta | None = None
        self._read_at = 0.0

    async def check(self) -> None:
        """Raise unless executions can be started here.

        Raises:
            ServiceError: search attributes are missing; its text names the command to run.
            ApiError: Temporal does not answer.
        """
        await self._refresh()
        async with temporal_call(_RPC_TIMEOUT):
            reply = await self._client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=self._client.namespace), retry=False
            )
        wanted = search_attributes.INDEXED_VALUE_TYPES
        missing = [n for n, kind in wanted.items() if reply.custom_attributes.get(n) != kind]
        if missing:
            raise ServiceError(
                f"namespace {self._client.namespace} lacks search attributes "
                f"{', '.join(missing)}: run `stigma setup`"
            )

    async def retention(self) -> timedelta:
        """Return how long closed executions are kept; at most a minute old."""
        if self._retention is None or time.monotonic() - self._read_at > _FRESH.total_seconds():
            return await self._refresh()
        return self._retention

    async def _refresh(self) -> timedelta:
        async with temporal_call(_RPC_TIMEOUT):
            reply = await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._client.namespace), retry=False
            )
        self._retention = reply.config.workflow_execution_retention_ttl.ToTimedelta()
        self._read_at = time.monotonic()
        return self._retention
