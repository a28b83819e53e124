"""The pending steps on an execution's page."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.client import Client

from services.stigma_api.tests.consoles import api_with_console, http_client, metadata
from stigma.agent.v1.agent_execution_pb2 import AgentExecution, PendingStep
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma_api.console.rendering import Assets, TemplateRenderer
from stigma_api.console.views import view


async def test_a_page_says_that_no_worker_takes_an_execution(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("pending")
    async with api_with_console(temporal_server.address, directory) as api:
        agent = Agent(name="reviewer", spec=AgentSpec(model="scripted:demo"))
        await api.agents.ApplyAgent(ApplyAgentRequest(agent=agent), **metadata("root"))
        request = StartAgentRequest(agent_id="reviewer", message="m")
        started = await api.executions.StartAgent(request, **metadata("caller"))
        async with http_client(api, "caller") as browser:
            page = (await browser.get(f"/executions/{started.id}")).text
            assert "<h2>Pending steps</h2>" in page
            assert f"no worker polls task queue {api.queues.orchestrator}</span>" in page
            await client.get_workflow_handle(started.id).terminate()
            page = (await browser.get(f"/executions/{started.id}")).text
            assert "Pending steps</h2>" not in page


def test_a_call_of_an_agent_leads_to_its_execution() -> None:
    execution = AgentExecution(id="agent-1")
    execution.status.more_pending_steps = 1200
    execution.status.pending_steps.extend(
        [
            PendingStep(title="tool call 1-1, <b>ask</b>", execution_id="agent-1-1-1"),
            PendingStep(title="t", attempt=2, due_time=Timestamp(seconds=1_800_000_000)),
        ]
    )
    shown = TemplateRenderer(Assets()).part("_pending.html", execution=view(execution))
    link = '<a href="/executions/agent-1-1-1">tool call 1-1, &lt;b&gt;ask&lt;/b&gt;</a>'
    assert f"{link}<span" in shown
    assert "attempt 2 follows at 2027-01-15 08:00:00 UTC" in shown
    assert "And 1,200 more." in shown


def test_a_call_of_an_agent_says_that_a_person_is_asked() -> None:
    execution = AgentExecution(id="agent-1")
    step = PendingStep(title="a call", execution_id="agent-2", input_required=True)
    execution.status.pending_steps.append(step)
    shown = TemplateRenderer(Assets()).part("_pending.html", execution=view(execution))
    assert '<span class="detail">waits for a person</span>' in shown
