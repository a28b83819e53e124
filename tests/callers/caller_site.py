"""An installation as its operator sets it up, and what the examples' programs need of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from google.protobuf.duration_pb2 import Duration

from stigma.agent.v1 import agent_execution_service_pb2_grpc, agent_service_pb2_grpc
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_INVALID_REQUEST,
    Agent,
    AgentSpec,
    Script,
    ScriptFailure,
    ScriptStep,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.contracts import ids, phases
from stigma.contracts.executions import Execution, Kind, phase_name
from stigma.workflow.v1 import workflow_execution_service_pb2_grpc, workflow_service_pb2_grpc
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    GetWorkflowExecutionRequest,
)
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from tests.callers.programs import ROOT
from tests.stack.channels import open_channel
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

PRINCIPAL = "callers"
KEY = "callers-key-0817-very-secret-bearer"

_HEAD = "document: {dsl: '1.0.3', namespace: shop, name: example, version: '1.0.0'}\n"

WORKFLOWS = {
    "shipping": (ROOT / "examples" / "callers" / "shipping.yaml").read_text(encoding="utf-8"),
    "slow": _HEAD + "do: [{pause: {wait: {minutes: 1}}}]",
    "broken": (
        _HEAD + "do: [{refuse: {raise: {error: {type: 'https://shop.test/errors/empty',"
        " status: 422, title: nothing in stock}}}}]"
    ),
}

# Longer than a caller takes from the acknowledgement to its last event.
_REVIEWER = AgentSpec(
    model="scripted:reviewer",
    script=Script(steps=[ScriptStep(text="{message}", delay=Duration(nanos=300_000_000))]),
)

AGENTS = {
    "style-reviewer": _REVIEWER,
    "security-reviewer": _REVIEWER,
    "slow": AgentSpec(
        model="scripted:slow", script=Script(steps=[ScriptStep(delay=Duration(seconds=60))])
    ),
    "broken": AgentSpec(
        model="scripted:broken",
        script=Script(
            steps=[
                ScriptStep(
                    failure=ScriptFailure(
                        reason=FAILURE_REASON_INVALID_REQUEST, message="no such parameter"
                    )
                )
            ]
        ),
    ),
}


class CallerSite:
    """Four services with agents and workflows applied."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.stack = stack
        self.directory = directory
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        channel = open_channel(self.stack.api_address, api_key=KEY)
        self._open.push_async_callback(channel.close)
        self._agents = agent_execution_service_pb2_grpc.AgentExecutionServiceStub(channel)
        self._workflows = workflow_execution_service_pb2_grpc.WorkflowExecutionServiceStub(channel)
        agents = agent_service_pb2_grpc.AgentServiceStub(channel)
        for name, spec in AGENTS.items():
            await agents.ApplyAgent(ApplyAgentRequest(agent=Agent(name=name, spec=spec)))
        workflows = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        for name, document in WORKFLOWS.items():
            workflow = Workflow(name=name, spec=WorkflowSpec(document=document))
            await workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=workflow))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def settings(self, api_address: str = "") -> dict[str, str]:
        """What a program finds this installation by."""
        return {
            "STIGMA_API_ADDRESS": api_address or self.stack.api_address,
            "STIGMA_API_KEY": KEY,
            "TEMPORAL_ADDRESS": self.stack.temporal_address,
            "TEMPORAL_NAMESPACE": self.stack.namespace,
        }

    def execution_id(self, request_id: str, kind: Kind = Kind.AGENT) -> str:
        """The execution that a program has started by a request id."""
        return ids.execution_id(PRINCIPAL, self.stack.namespace, request_id, kind=kind)

    async def ended(self, execution_id: str) -> str:
        """Wait for an execution's end, and return its phase."""

        async def ended() -> Execution | None:
            execution = await self._execution(execution_id)
            return execution if phases.has_ended(execution) else None

        return phase_name(await eventually(ended, what=f"the end of {execution_id}"))

    async def cancel(self, execution_id: str, reason: str = "") -> None:
        """Cancel an execution of either kind through the API, as somebody else would."""
        if Kind.of_id(execution_id) is Kind.WORKFLOW:
            await self._workflows.CancelWorkflowExecution(
                CancelWorkflowExecutionRequest(id=execution_id, reason=reason)
            )
        else:
            await self._agents.CancelAgentExecution(
                CancelAgentExecutionRequest(id=execution_id, reason=reason)
            )

    async def _execution(self, execution_id: str) -> AgentExecution | WorkflowExecution:
        if Kind.of_id(execution_id) is Kind.WORKFLOW:
            return await self._workflows.GetWorkflowExecution(
                GetWorkflowExecutionRequest(id=execution_id)
            )
        return await self._agents.GetAgentExecution(GetAgentExecutionRequest(id=execution_id))


def environment(directory: Path) -> Mapping[str, Mapping[str, str]]:
    """Write the operator's files, and return the variables that name them."""
    actions = [f"executions.{action}" for action in ("start", "read", "cancel")]
    actions += [
        f"{kind}.{action}" for kind in ("agents", "workflows") for action in ("read", "apply")
    ]
    principal = {
        "name": PRINCIPAL,
        "key_sha256": [hashlib.sha256(KEY.encode()).hexdigest()],
        "actions": actions,
    }
    principals = directory / "principals.yaml"
    principals.write_text(json.dumps({"principals": [principal]}))
    return {
        "stigma_api": {"STIGMA_PRINCIPALS_FILE": str(principals)},
        "zigflow_worker": {"STIGMA_API_KEY": KEY},
    }
