"""Nexus endpoints of tools, absent ones above all, against a real Temporal server."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api, refused, running_api
from services.stigma_api.tests.event_texts import lines, timeline_with
from services.stigma_api.tests.fake_tools import MODEL, api_with_tools, new_endpoint
from services.stigma_api.tests.fake_workflows import diagnosis
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentSpec, NexusTool, Tool
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from tests.stack.faults import Fail, FaultProxy
from tests.stack.waiting import eventually

Code = grpc.StatusCode
ALLOWED: dict[str, Any] = {"tool_nexus_endpoints": "*"}


def agent(*endpoints: str) -> AgentSpec:
    """An agent with a tool `pay`, `pay1`, … for each endpoint."""
    operations = [NexusTool(endpoint=each, service="Bills", operation="pay") for each in endpoints]
    names = ["pay", *(f"pay{number}" for number in range(1, len(endpoints)))]
    pairs = zip(names, operations, strict=True)
    return AgentSpec(model=MODEL, tools=[Tool(name=name, nexus=nexus) for name, nexus in pairs])


async def test_an_absent_endpoint_is_refused_at_apply_and_at_start(
    temporal_server: Any, tmp_path: Path, client: Client
) -> None:
    async with running_api(temporal_server.address, tmp_path, **ALLOWED) as api:
        there = await new_endpoint(client, f"{api.queues.prefix}tools")
        gone = f"gone-{uuid.uuid4().hex}"
        await api.apply("clerk", agent(there, there))
        for name in (gone, f"{there}-not", "not a name of an endpoint"):
            async with refused(Code.FAILED_PRECONDITION) as refusal:
                await api.apply("other", agent(there, name, name))
            assert refusal.reason == "NEXUS_ENDPOINT_NOT_FOUND"
            assert refusal.message == f"Temporal has no Nexus endpoint {name} of tool pay1"
        request = StartAgentRequest(spec=agent(gone, there), message="m")
        async with refused(Code.FAILED_PRECONDITION) as refusal:
            await api.executions.StartAgent(request)
        assert refusal.message == f"Temporal has no Nexus endpoint {gone} of tool pay"
        await api.executions.StartAgent(StartAgentRequest(agent_id="clerk", message="m"))


@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.UNIMPLEMENTED])
async def test_an_endpoint_that_may_not_be_asked_for_is_not_refused(
    temporal_server: Any, tmp_path: Path, code: grpc.StatusCode
) -> None:
    async with (
        FaultProxy(temporal_server.address) as proxy,
        running_api(proxy.address, tmp_path, **ALLOWED) as api,
    ):
        proxy.inject("ListNexusEndpoints", Fail(code))
        await api.apply("clerk", agent("anything"))
        proxy.inject("ListNexusEndpoints", Fail(Code.UNAVAILABLE), times=100)
        async with refused(Code.UNAVAILABLE):
            await api.apply("clerk", agent("anything"))


async def test_an_agent_whose_endpoint_is_gone_is_diagnosed(
    temporal_server: Any, tmp_path: Path, client: Client
) -> None:
    gone = f"gone-{uuid.uuid4().hex}"
    async with (
        FaultProxy(temporal_server.address) as proxy,
        api_with_tools(proxy.address, tmp_path, client) as (api, _),
    ):
        proxy.inject("ListNexusEndpoints", Fail(Code.PERMISSION_DENIED))
        request = StartAgentRequest(spec=agent(gone), message="pay")
        started = await api.executions.StartAgent(request)
        refused_command = f'Temporal refuses its Nexus operation: endpoint "{gone}" not found'

        async def diagnosed() -> pb.StuckExecution | None:
            return await _diagnosed(api, started.id)

        found = await eventually(diagnosed, what="it is stuck")
        assert found.reason == pb.STUCK_REASON_WORKFLOW_TASK_FAILING
        assert found.message.startswith(f"workflow {started.id} fails: {refused_command}, ")
        timeline = await timeline_with(api, started.id, "TASK_FAILING")
        [line] = lines(timeline, pb.TIMELINE_STEP_TASK_FAILING)
        assert refused_command in line
        await client.get_workflow_handle(started.id).terminate()


async def _diagnosed(api: Api, execution_id: str) -> pb.StuckExecution | None:
    listing = pb.ListStuckExecutionsRequest()
    listing.min_age.FromTimedelta(timedelta())
    reply = await diagnosis(api).ListStuckExecutions(listing, timeout=15)
    found = [each for each in reply.executions if each.execution_id == execution_id]
    return found[0] if found else None
