"""Agents that wait for people, and the people who answer them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from stigma.agent.v1.agent_execution_pb2 import PendingInput
from stigma.agent.v1.agent_execution_service_pb2 import (
    ListPendingInputsRequest,
    SendAgentMessageRequest,
    SubmitAgentInputRequest,
)
from stigma.agent.v1.agent_pb2 import AgentSpec
from tests.integration.executions import AgentExecutions
from tests.stack.waiting import eventually


def asking_agent(calls: Mapping[str, Any], *tools: Mapping[str, Any]) -> AgentSpec:
    """Return an agent that makes all of these calls in one answer; each waits for its approval.

    Args:
        calls: arguments, by the tool that is called.
        tools: beside `ask`, which is a question.
    """
    made = [
        {"name": name, "argumentsJson": json.dumps(arguments)} for name, arguments in calls.items()
    ]
    return json_format.ParseDict(
        {
            "model": "scripted:people",
            "tools": [{"name": "ask", "question": {}}, *tools],
            "approval": {"rules": [{"require": "APPROVAL_REQUIREMENT_ALWAYS"}]},
            "script": {"steps": [{"toolCalls": made}, {"text": "{results}"}]},
        },
        AgentSpec(),
    )


async def pending_inputs(
    executions: AgentExecutions, execution_id: str, count: int = 1
) -> Sequence[PendingInput]:
    """Wait until an execution waits for so many inputs, and return them, oldest first."""

    async def found() -> Sequence[PendingInput] | None:
        request = ListPendingInputsRequest(id=execution_id)
        inputs = (await executions.stub.ListPendingInputs(request)).inputs
        return inputs if len(inputs) == count else None

    return await eventually(found, what=f"{count} inputs of {execution_id}")


async def submit(executions: AgentExecutions, found: PendingInput, **answer: Any) -> None:
    """Answer an input."""
    request = SubmitAgentInputRequest(
        id=found.execution_id,
        input_id=found.id,
        arguments_digest=found.arguments_digest,
        request_id=uuid.uuid4().hex,
        **answer,
    )
    await executions.stub.SubmitAgentInput(request)


async def send(executions: AgentExecutions, execution_id: str, text: str) -> None:
    """Send a message to an execution."""
    request = SendAgentMessageRequest(id=execution_id, message=text, request_id=uuid.uuid4().hex)
    await executions.stub.SendAgentMessage(request)
