"""Fixtures of the orchestrator's tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import Catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.models.provider import Provider
from ai_worker.settings import Settings as AiSettings
from ai_worker.worker import new_worker as new_ai_worker
from services.stigma_orchestrator.tests.orchestration import (
    Caller,
    CallerActivities,
    Model,
    Orchestrator,
    ParallelCaller,
    Sender,
)
from services.stigma_orchestrator.tests.tool_agents import (
    Book,
    Effects,
    ReadHeaders,
    ToolAgents,
)
from services.stigma_orchestrator.tests.watches import CountedLooks, watching
from services.stigma_orchestrator.tests.workflow_runs import Executions, FakeEngine, Workflows
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma_orchestrator.delivery.metrics import CallbackMetrics
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.worker import new_execution_worker

# Every test must also pass with 0, when each workflow task replays from the start.
CACHED_WORKFLOWS = int(os.environ.get("STIGMA_TEST_CACHED_WORKFLOWS", "100"))


@pytest.fixture(scope="session")
async def client(temporal_server: Any) -> Client:
    return await Client.connect(temporal_server.address, data_converter=DATA_CONVERTER)


@pytest.fixture(scope="session")
async def foreign_client(temporal_server: Any) -> Client:
    return await Client.connect(temporal_server.address)


@pytest.fixture
def settings() -> OrchestratorSettings:
    return OrchestratorSettings(
        task_queue_prefix=f"{uuid.uuid4().hex[:8]}-",
        max_cached_workflows=CACHED_WORKFLOWS,
        workflow_sandbox=True,
        shutdown_grace=timedelta(seconds=1),
    )


@pytest.fixture
def is_watched() -> bool:
    """Whether callers are watched from the start on."""
    return True


@pytest.fixture
async def orchestrator(
    client: Client, foreign_client: Client, settings: OrchestratorSettings, is_watched: bool
) -> AsyncIterator[Orchestrator]:
    queues = TaskQueues(settings.task_queue_prefix)
    sender = Sender(client, CallbackMetrics(CollectorRegistry()))
    own = Orchestrator(
        client,
        queues,
        Model(),
        CallerActivities(),
        sender,
        lambda: new_execution_worker(client, sender, settings),
        CountedLooks(client),
    )
    async with (
        watching(client, own.looks, settings) if is_watched else contextlib.nullcontext(),
        Worker(
            client,
            task_queue=queues.ai,
            activities=[own.model.call_model],
            max_heartbeat_throttle_interval=timedelta(seconds=2),
        ),
        Worker(
            foreign_client,
            task_queue=queues.engine,
            workflows=[Caller, ParallelCaller, FakeEngine],
            workflow_runner=UnsandboxedWorkflowRunner(),
            activities=[own.caller.wait_for_agent],
        ),
        own.running(),
    ):
        async with asyncio.timeout(100):
            yield own
        own.model.release()
        own.sender.release()
        await own.replay()


@pytest.fixture
def providers() -> Sequence[Provider]:
    """Providers of models beside the scripted one, of `agents`."""
    return ()


@pytest.fixture
async def agents(running_agents: ToolAgents) -> AsyncIterator[ToolAgents]:
    """Agents with tools, whose histories are replayed at the end."""
    async with asyncio.timeout(100):
        yield running_agents
    running_agents.effects.released.set()
    await running_agents.replay()


@pytest.fixture
async def running_agents(
    client: Client,
    foreign_client: Client,
    settings: OrchestratorSettings,
    providers: Sequence[Provider],
) -> AsyncIterator[ToolAgents]:
    """Agents with tools; the worker of the tools runs where a test says so."""
    effects = Effects()

    def new_tool_worker(**options: Any) -> Worker:
        return Worker(
            foreign_client,
            task_queue=f"{settings.task_queue_prefix}tools",
            workflows=[Book],
            workflow_runner=UnsandboxedWorkflowRunner(),
            activities=[effects.act, effects.nothing],
            interceptors=[ReadHeaders()],
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
            **options,
        )

    own = ToolAgents(client, TaskQueues(settings.task_queue_prefix), effects, new_tool_worker)
    sender = Sender(client, CallbackMetrics(CollectorRegistry()))
    caller = ModelCaller(Catalog([own.model, *providers]), ModelCallMetrics(CollectorRegistry()))
    ai_settings = AiSettings(
        task_queue_prefix=settings.task_queue_prefix,
        shutdown_grace=timedelta(seconds=1),
        max_concurrent_activities=1000,
        max_cached_conversation_bytes=CACHED_WORKFLOWS * 1_000_000,
    )
    async with (
        new_execution_worker(client, sender, settings),
        new_ai_worker(client, caller, ai_settings),
    ):
        yield own


@pytest.fixture
def workflows(orchestrator: Orchestrator) -> Workflows:
    return Workflows(orchestrator)


@pytest.fixture(params=["agent", "workflow"])
def executions(
    request: pytest.FixtureRequest, orchestrator: Orchestrator, workflows: Workflows
) -> Executions:
    """Executions of either kind, for tests of what the kinds share."""
    return orchestrator if request.param == "agent" else workflows
