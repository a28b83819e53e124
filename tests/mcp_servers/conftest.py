"""One API and one orchestrator for all of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.mcp_servers.agents import McpInstallation
    from tests.mcp_servers.programs import Programs


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Node and what it runs."""
    from tests.mcp_servers.programs import Programs

    found = Programs()
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture(scope="package")
async def installation(
    programs: Programs, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[McpInstallation]:
    """An API and an orchestrator in this process."""
    from prometheus_client import CollectorRegistry
    from temporalio.client import Client

    from services.stigma_api.tests.api_server import running_api
    from stigma.contracts.payloads import DATA_CONVERTER
    from stigma_orchestrator.delivery.deliver_activity import CallbackSender
    from stigma_orchestrator.delivery.metrics import CallbackMetrics
    from stigma_orchestrator.settings import OrchestratorSettings
    from stigma_orchestrator.worker import new_execution_worker
    from tests.mcp_servers.agents import McpInstallation

    client = await Client.connect(temporal_server.address, data_converter=DATA_CONVERTER)
    sender = CallbackSender(client, CallbackMetrics(CollectorRegistry()))
    directory = tmp_path_factory.mktemp("mcp")
    async with running_api(temporal_server.address, directory) as api:
        settings = OrchestratorSettings(task_queue_prefix=api.queues.prefix)
        async with new_execution_worker(client, sender, settings):
            yield McpInstallation(client, api)
