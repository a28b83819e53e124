"""How deep, and how many, agents below an execution may be: settings that a start hands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from temporalio.client import Client

from services.stigma_api.tests.api_server import SCRIPTED, running_api
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentSpec, AgentTool, Tool
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput


async def input_of(client: Client, execution_id: str) -> AgentWorkflowInput:
    """The input of an execution's workflow."""
    async for event in client.get_workflow_handle(execution_id).fetch_history_events():
        payloads = event.workflow_execution_started_event_attributes.input.payloads
        [request] = await client.data_converter.decode(payloads, [AgentWorkflowInput])
        assert isinstance(request, AgentWorkflowInput)
        return request
    raise AssertionError


async def test_the_limits_of_a_tree_are_handed_on(
    temporal_server: Any, client: Client, tmp_path: Path
) -> None:
    lead = AgentSpec(
        model="scripted:lead", tools=[Tool(name="ask", agent=AgentTool(agent="called"))]
    )
    async with running_api(
        temporal_server.address, tmp_path, sub_agent_depth=2, sub_agent_count=7
    ) as api:
        await api.apply("called", SCRIPTED)
        await api.apply("lead", lead)
        started = await api.executions.StartAgent(StartAgentRequest(agent_id="lead", message="m"))
        alone = await api.executions.StartAgent(StartAgentRequest(agent_id="called", message="m"))
        request = await input_of(client, started.id)
        assert (request.lineage.depth_left, request.lineage.sub_agents) == (2, 7)
        assert not (await input_of(client, alone.id)).HasField("lineage")
        for each in (started.id, alone.id):
            await client.get_workflow_handle(each).terminate()
