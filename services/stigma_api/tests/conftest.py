"""Fixtures of the API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.stigma_api.tests.api_server import Api, running_api
from services.stigma_api.tests.event_texts import api_with_workers
from services.stigma_api.tests.fake_executions import (
    FakeAgent,
    FakeEngine,
    FakeModel,
    FakeSession,
    FakeWorkflow,
)
from services.stigma_api.tests.waiting_callers import Callers, WaitingCaller
from stigma.contracts.payloads import DATA_CONVERTER
from tests.stack.faults import FaultProxy


@pytest.fixture(scope="session")
async def client(temporal_server: Any) -> Client:
    return await Client.connect(temporal_server.address, data_converter=DATA_CONVERTER)


@pytest.fixture(scope="module")
async def api(temporal_server: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """An API without workers: what it starts stays as it is."""
    async with running_api(temporal_server.address, tmp_path_factory.mktemp("api")) as api:
        await api.apply("reviewer")
        yield api


@pytest.fixture(scope="module")
async def staffed_api(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An API whose agents do what their message says, and whose workflows what their document."""
    model = FakeModel()
    async with running_api(temporal_server.address, tmp_path_factory.mktemp("api")) as api:
        await api.apply("reviewer")
        async with (
            Worker(
                client,
                task_queue=api.queues.orchestrator,
                workflows=[FakeAgent, FakeSession, FakeWorkflow],
                activities=[model.call_model, model.deliver_callback],
                workflow_runner=UnsandboxedWorkflowRunner(),
            ),
            Worker(
                client,
                task_queue=api.queues.engine,
                workflows=[FakeEngine],
                workflow_runner=UnsandboxedWorkflowRunner(),
            ),
        ):
            yield api


@pytest.fixture(scope="module")
async def temporal_proxy(temporal_server: Any) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(temporal_server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def staged_api(
    client: Client, temporal_proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An API that reaches Temporal through the proxy, and workers of every queue."""
    directory = tmp_path_factory.mktemp("staged")
    async with api_with_workers(temporal_proxy.address, directory, client) as api:
        yield api


@pytest.fixture(scope="module")
async def callers(client: Client) -> AsyncIterator[Callers]:
    callers = Callers(client)
    async with Worker(
        client,
        task_queue=callers.task_queue,
        workflows=[WaitingCaller],
        activities=[callers.wait_for_agent],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield callers
