"""Agents of the scripted model, and the people who start and answer them through the API."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from stigma.agent.v1.agent_execution_pb2 import PendingInput
from stigma.agent.v1.agent_execution_service_pb2 import (
    ListPendingInputsRequest,
    SendAgentMessageRequest,
    StartAgentRequest,
    SubmitAgentInputRequest,
)
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

TOOLS_QUEUE = "tools"
NEVER = {"require": "APPROVAL_REQUIREMENT_NEVER"}
ALWAYS = {"require": "APPROVAL_REQUIREMENT_ALWAYS"}
DONE = {"text": "done: {results}"}

Fields = Mapping[str, Any]
"""Of a message of the API, as its JSON form has them."""


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A call of the script."""
    return {"name": tool, "argumentsJson": json.dumps(arguments)}


def calls(*made: Fields, **fields: Any) -> dict[str, Any]:
    """A step of the script that makes calls."""
    return {"toolCalls": list(made), **fields}


def agent(
    *steps: Fields, tools: Sequence[Fields] = (), rules: Sequence[Fields] = (NEVER,), **fields: Any
) -> dict[str, Any]:
    """An agent that plays these steps."""
    spec = {"model": "scripted:recorded", "script": {"steps": list(steps)}, **fields}
    return spec | ({"tools": list(tools), "approval": {"rules": list(rules)}} if tools else {})


@dataclass(frozen=True)
class Agents:
    """The API of one stack, as people use it."""

    stack: Stack

    @property
    def queue(self) -> str:
        """Task queue of the tools."""
        return self.stack.prefix + TOOLS_QUEUE

    def act(self, **policy: Any) -> dict[str, Any]:
        """The tool that is an activity."""
        activity = {"type": "act", "taskQueue": self.queue}
        return {"name": "act", "activity": activity, "policy": policy}

    async def start(self, which: Fields | str, message: str = "Help me.", **fields: Any) -> str:
        """Start an agent, a registered one or a specification; return the execution's id."""
        if isinstance(which, str):
            fields["agent_id"] = which
        else:
            fields["spec"] = json_format.ParseDict(dict(which), AgentSpec())
        fields.setdefault("request_id", uuid.uuid4().hex)
        request = StartAgentRequest(message=message, **fields)
        return (await self.stack.executions.StartAgent(request)).id

    async def apply(self, name: str, spec: Fields) -> None:
        """Register an agent."""
        named = Agent(name=name, spec=json_format.ParseDict(dict(spec), AgentSpec()))
        await self.stack.agents.ApplyAgent(ApplyAgentRequest(agent=named))

    async def pending(self, execution_id: str, count: int = 1) -> Sequence[PendingInput]:
        """Wait until an execution waits for so many inputs, and return them."""

        async def found() -> Sequence[PendingInput] | None:
            request = ListPendingInputsRequest(id=execution_id)
            inputs = (await self.stack.executions.ListPendingInputs(request)).inputs
            return inputs if len(inputs) == count else None

        return await eventually(found, what=f"{count} inputs of {execution_id}")

    async def next_input(self, execution_id: str, before: PendingInput) -> PendingInput:
        """Wait until an execution waits for another input than the one before."""

        async def found() -> PendingInput | None:
            [one] = await self.pending(execution_id)
            return one if one.id != before.id else None

        return await eventually(found, what=f"the input of {execution_id} after {before.id}")

    async def submit(self, found: PendingInput, **answer: Any) -> None:
        """Answer an input."""
        request = SubmitAgentInputRequest(
            id=found.execution_id,
            input_id=found.id,
            arguments_digest=found.arguments_digest,
            request_id=uuid.uuid4().hex,
            **answer,
        )
        await self.stack.executions.SubmitAgentInput(request)

    async def send(self, execution_id: str, text: str) -> None:
        """Send a message to an execution."""
        request = SendAgentMessageRequest(
            id=execution_id, message=text, request_id=uuid.uuid4().hex
        )
        await self.stack.executions.SendAgentMessage(request)
