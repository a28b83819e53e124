"""The worker: what it serves, and how its parts stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from ai_worker.activities import ModelCalls
from ai_worker.catalog import Catalog, build_catalog
from ai_worker.heartbeats import HEARTBEAT_INTERVAL
from ai_worker.metrics import ModelCallMetrics
from ai_worker.resources import ProviderResource
from ai_worker.settings import Settings
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.runtime import Component, ServiceRuntime, WorkerComponent


def new_worker(client: Client, calls: ModelCalls, settings: Settings) -> Worker:
    """Return a worker that serves model calls on the AI queue."""
    return Worker(
        client,
        task_queue=TaskQueues(settings.task_queue_prefix).ai,
        activities=[calls.call_model],
        max_concurrent_activities=settings.max_concurrent_activities,
        # The SDK's own throttle would hide a cancel for 30 s and more.
        max_heartbeat_throttle_interval=HEARTBEAT_INTERVAL,
        default_heartbeat_throttle_interval=HEARTBEAT_INTERVAL,
        graceful_shutdown_timeout=settings.shutdown_grace,
    )


class CatalogComponent:
    """Closes the providers' connections once the worker has stopped."""

    name = "providers"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def start(self) -> None:
        """Do nothing: connections open with the first call."""

    async def stop(self, grace: timedelta) -> None:
        """Close the connections."""
        async with asyncio.timeout(grace.total_seconds()):
            await self._catalog.close()

    async def wait_failed(self) -> None:
        """Wait for ever: a provider that fails fails calls, not the worker."""
        await asyncio.Event().wait()


async def build(
    runtime: ServiceRuntime, settings: Settings, resources: Sequence[ProviderResource]
) -> Sequence[Component]:
    """Connect and put the parts together; they start in order and stop in reverse."""
    catalog = build_catalog(resources, settings.max_concurrent_activities)
    calls = ModelCalls(catalog, ModelCallMetrics(runtime.metrics))
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    return [
        CatalogComponent(catalog),
        WorkerComponent("model-calls", new_worker(client, calls, settings)),
    ]
