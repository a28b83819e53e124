"""A traced installation, and calls of it: by a caller's program, and by the API alone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from dataclasses import dataclass
from typing import Any

from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, Script, ScriptStep
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.integration.trace_receiver import TraceReceiver
from tests.stack.stack import Stack

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: tests, name: review, version: '1.0.0'}
do: [{ask: {call: agent, with: {agent: reviewer, message: '${ .message }'}}}]
"""
# Two model calls: the first answer is a pause.
SCRIPT = Script(steps=[ScriptStep(text="…", pause=True), ScriptStep(text="{message}")])


@dataclass(frozen=True)
class Call:
    """What the caller's program told of its call."""

    trace_id: str
    execution_id: str
    request_id: str
    log: list[dict[str, Any]]


def environment(endpoint: str, **variables: str) -> dict[str, str]:
    """The variables that switch tracing on, without the batch's usual delay of 5 s."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **variables,
    }


async def apply(stack: Stack) -> None:
    """Register the agent and the workflow that calls it."""
    spec = AgentSpec(model="scripted:demo", script=SCRIPT)
    agent = Agent(name="reviewer", spec=spec)
    await stack.agents.ApplyAgent(ApplyAgentRequest(agent=agent))
    workflow = Workflow(name="review", spec=WorkflowSpec(document=DOCUMENT))
    workflows = WorkflowServiceStub(stack.channel)
    await workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))


async def call(stack: Stack, traces: TraceReceiver) -> Call:
    """Have the caller's program run the workflow once."""
    variables = {
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "TEMPORAL_NAMESPACE": stack.namespace,
        "STIGMA_API_ADDRESS": stack.api_address,
    }
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.observability.traced_caller"),
        *(f"{stack.prefix}shop", "review"),
        env=os.environ | variables | environment(traces.endpoint),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        stdout, stderr = await program.communicate()
    assert program.returncode == 0, stderr.decode()
    log = [json.loads(line) for line in stderr.decode().splitlines() if line.startswith("{")]
    return Call(log=log, **json.loads(stdout))


async def run_agent(stack: Stack, metadata: dict[str, str]) -> None:
    """Start an agent and watch it to its end."""
    request = StartAgentRequest(agent_id="reviewer", message="hi", request_id=uuid.uuid4().hex)
    execution = await stack.executions.StartAgent(
        request, metadata=tuple(metadata.items()), timeout=15
    )
    watched = stack.executions.WatchAgentExecution(WatchAgentExecutionRequest(id=execution.id))
    kinds = [event.WhichOneof("event") async for event in watched]
    assert kinds
