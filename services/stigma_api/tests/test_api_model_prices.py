"""Agents with a cost limit start where the price of their model is known: a real AI worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import build_catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.resources import Prices, ProviderResource
from ai_worker.settings import Settings as AiSettings
from ai_worker.worker import new_worker as new_ai_worker
from services.stigma_api.tests.api_server import Api, refused, running_api
from services.stigma_api.tests.test_api_mcp import orchestrator
from services.stigma_api.tests.test_api_tool_access import start
from stigma.agent.v1.agent_pb2 import ActivityTool, AgentConfig, AgentLimits, AgentSpec, Tool
from stigma_api.executions import model_prices

PRICED = Prices(input=1, output=2)
TOOL = Tool(name="find", activity=ActivityTool(type="Find", task_queue="orders"))


def agent(
    model: str = "local:mine", cost_usd: float = 0.5, tools: tuple[Tool, ...] = ()
) -> AgentSpec:
    return AgentSpec(model=model, limits=AgentLimits(cost_usd=cost_usd), tools=tools)


@pytest.fixture
async def api(client: Client, temporal_server: Any, tmp_path: Path) -> AsyncIterator[Api]:
    """An API with its orchestrator."""
    async with (
        running_api(temporal_server.address, tmp_path, tool_task_queues="orders") as api,
        orchestrator(client, api),
    ):
        yield api


@asynccontextmanager
async def ai_worker(client: Client, api: Api, **prices: Prices) -> AsyncIterator[None]:
    """An AI worker whose provider `local` has these prices. Nothing serves its models."""
    resource = ProviderResource(
        name="local", type="openai-compatible", base_url="http://127.0.0.1:9/v1", prices=prices
    )
    catalog = build_catalog([resource], 1)
    caller = ModelCaller(catalog, ModelCallMetrics(CollectorRegistry()))
    settings = AiSettings(task_queue_prefix=api.queues.prefix)
    async with new_ai_worker(client, caller, settings):
        yield
    await catalog.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give workers as long as a call: in production a start goes on after three seconds."""
    monkeypatch.setattr(model_prices, "_TIMEOUT", timedelta(seconds=12))


async def refused_as_unpriced(api: Api, **request: Any) -> None:
    async with refused(grpc.StatusCode.FAILED_PRECONDITION) as refusal:
        await start(api, message="m", **request)
    assert refusal.reason == "MODEL_UNPRICED"
    assert "'local:mine' is not known" in refusal.message


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("tools", [(), (TOOL,)], ids=["without tools", "with tools"])
async def test_with_a_cost_limit_an_unpriced_model_is_refused_at_start(
    api: Api, client: Client, tools: tuple[Tool, ...]
) -> None:
    async with ai_worker(client, api):
        await refused_as_unpriced(api, spec=agent(tools=tools))
        await api.apply("clerk", agent(tools=tools))
        await refused_as_unpriced(api, agent_id="clerk")
        # What only the request limits is limited as well.
        config = AgentConfig(limits=AgentLimits(cost_usd=0.1))
        await refused_as_unpriced(api, spec=agent(cost_usd=0, tools=tools), config=config)
        # Nothing needs a price without a limit, and a script costs what it says.
        assert (await start(api, spec=agent(cost_usd=0, tools=tools), message="m")).id
        assert (await start(api, spec=agent("scripted:x", tools=tools), message="m")).id


@pytest.mark.usefixtures("patient")
async def test_a_price_of_the_operators_file_counts_with_the_next_start(
    api: Api, client: Client
) -> None:
    async with ai_worker(client, api):
        await refused_as_unpriced(api, spec=agent())
    async with ai_worker(client, api, mine=PRICED):
        assert (await start(api, spec=agent(), message="m")).id
    async with ai_worker(client, api):
        # For some minutes it is not asked for again; the AI worker's own check has the last word.
        assert (await start(api, spec=agent(), message="m")).id


async def test_a_model_that_cannot_be_called_is_for_its_first_call_to_refuse(
    api: Api, client: Client
) -> None:
    async with ai_worker(client, api):
        assert (await start(api, spec=agent("none:x"), message="m")).id


async def test_without_an_ai_worker_agents_start_all_the_same(
    api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_prices, "_NO_ANSWER_SECONDS", 0)
    assert (await start(api, spec=agent(), message="m")).id
    monkeypatch.setattr(model_prices, "_TIMEOUT", timedelta(seconds=12))
    async with ai_worker(client, api):
        await refused_as_unpriced(api, spec=agent())
