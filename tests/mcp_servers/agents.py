"""Agents of an API, with an orchestrator; each test brings AI workers with its servers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from temporalio.client import Client

from ai_worker.mcp.activity import McpCalls
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.servers import Servers
from ai_worker.mcp_resources import McpServerResource
from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import build_catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.settings import Settings as AiSettings
from ai_worker.worker import new_worker as new_ai_worker
from services.stigma_api.tests.api_server import Api
from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecution,
    PendingInput,
    ToolOutcome,
    ToolResult,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    InputAnswer,
    StartAgentRequest,
    SubmitAgentInputRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_NEVER,
    Agent,
    AgentSpec,
    ApprovalPolicy,
    ApprovalRule,
    McpTool,
    Script,
    ScriptStep,
    ScriptToolCall,
    Tool,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest, GetAgentRequest

Call = tuple[str, dict[str, Any]]
"""A tool's name and its arguments."""


@dataclass
class Run:
    """An execution that has ended."""

    execution: AgentExecution
    results: list[ToolResult]

    @property
    def outcomes(self) -> list[str]:
        """The calls' outcomes."""
        return [
            ToolOutcome.Name(each.outcome).removeprefix("TOOL_OUTCOME_") for each in self.results
        ]


@dataclass
class McpInstallation:
    """An API and an orchestrator; agents use the scripted model."""

    client: Client
    api: Api
    asked: list[PendingInput] = field(default_factory=list)
    """What people were asked."""

    @asynccontextmanager
    async def ai_worker(self, *resources: McpServerResource) -> AsyncIterator[Servers]:
        """Run an AI worker that has these servers."""
        metrics = McpMetrics(CollectorRegistry())
        servers = Servers(resources, metrics)
        caller = ModelCaller(build_catalog((), 1), ModelCallMetrics(CollectorRegistry()))
        settings = AiSettings(
            task_queue_prefix=self.api.queues.prefix, shutdown_grace=timedelta(seconds=1)
        )
        try:
            async with new_ai_worker(self.client, caller, settings, McpCalls(servers, metrics)):
                yield servers
        finally:
            await servers.close()

    async def apply(self, name: str, *answers: Sequence[Call], also: Sequence[str] = ()) -> str:
        """Apply an agent, and return its id with its version.

        Args:
            name: of the agent, and of the server whose tools it has.
            answers: its model's, each with calls; a last one without calls follows.
            also: further servers.
        """
        steps = [ScriptStep(tool_calls=[_call(*each) for each in answer]) for answer in answers]
        script = Script(steps=[*steps, ScriptStep(text="{results}")])
        tools = [Tool(mcp=McpTool(server=server)) for server in (name, *also)]
        rule = ApprovalRule(require=APPROVAL_REQUIREMENT_NEVER)
        approval = ApprovalPolicy(rules=[rule])
        spec = AgentSpec(model="scripted:x", tools=tools, script=script, approval=approval)
        agent = Agent(name=name, spec=spec)
        applied = await self.api.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
        return f"{applied.name}@{applied.version}"

    async def schemas(self, agent: str, *tools: str) -> list[str]:
        """Return the input schemas of tools, as the API has them for an agent's version."""
        found = await self.api.agents.GetAgent(GetAgentRequest(id=agent))
        return [each.input_schema for each in found.mcp_tools if each.name in tools]

    async def start(self, agent: str) -> str:
        """Start an execution; return its id."""
        request = StartAgentRequest(agent_id=agent, message="Help me.")
        started = await self.api.executions.StartAgent(request)
        return str(started.id)

    async def ended(self, execution: str, answer: InputAnswer | None = None) -> Run:
        """Watch an execution to its end, and answer what it asks people meanwhile."""
        request = WatchAgentExecutionRequest(id=execution)
        results: list[ToolResult] = []
        async for event in self.api.executions.WatchAgentExecution(request):
            if event.HasField("input_requested") and answer is not None:
                await self._answer(event.input_requested.input, answer)
            if event.HasField("tool_call_ended"):
                results.append(event.tool_call_ended.result)
            if event.HasField("ended"):
                # In the order of the calls, not of their ends.
                results.sort(key=lambda each: [int(part) for part in each.call_id.split("-")])
                return Run(event.ended.execution, results)
        raise AssertionError("the watch ended before the execution")

    async def run(
        self, name: str, *answers: Sequence[Call], answer: InputAnswer | None = None
    ) -> Run:
        """Apply an agent and run it to its end."""
        return await self.ended(await self.start(await self.apply(name, *answers)), answer)

    async def _answer(self, found: PendingInput, answer: InputAnswer) -> None:
        request = SubmitAgentInputRequest(
            id=found.execution_id, input_id=found.id, request_id=found.id, reply=answer
        )
        self.asked.append(found)
        await self.api.executions.SubmitAgentInput(request)


def _call(name: str, arguments: dict[str, Any]) -> ScriptToolCall:
    return ScriptToolCall(name=name, arguments_json=json.dumps(arguments))
