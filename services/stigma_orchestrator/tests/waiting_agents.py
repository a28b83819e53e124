"""Agents that wait for people: what a test does as people, through the workflow's updates."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import InputResolution, PendingInput
from stigma.agent.v1.agent_execution_service_pb2 import (
    InputAnswer,
    InputApproval,
    InputDecline,
    InputDenial,
    SubmitAgentInputRequest,
)
from stigma.agent.v1.agent_pb2 import (
    APPROVAL_REQUIREMENT_ALWAYS,
    ApprovalPolicy,
    ApprovalRule,
)
from stigma.internal.v1.execution_pb2 import SendMessage, SubmitInput
from stigma_orchestrator.agents.workflow import AgentWorkflow
from tests.stack.waiting import eventually


def rule(*tools: str, expire_after: float | None = None, **fields: Any) -> ApprovalRule:
    """A rule for some tools, or all; it asks for an approval unless it says otherwise."""
    fields.setdefault("require", APPROVAL_REQUIREMENT_ALWAYS)
    made = ApprovalRule(tools=tools, **fields)
    if expire_after is not None:
        made.expire_after.FromTimedelta(timedelta(seconds=expire_after))
    return made


def policy(*rules: ApprovalRule) -> ApprovalPolicy:
    """An approval policy."""
    return ApprovalPolicy(rules=rules)


@dataclass
class People:
    """People who answer what one execution waits for."""

    handle: WorkflowHandle[AgentWorkflow, Any]

    async def pending(self, count: int = 1) -> Sequence[PendingInput]:
        """Wait until so many inputs are pending, and return them."""

        async def enough() -> Sequence[PendingInput] | None:
            found = (await self.handle.query(AgentWorkflow.pending_inputs)).inputs
            return list(found) if len(found) == count else None

        return await eventually(enough, what=f"{count} pending inputs")

    async def asked_by(self, *tools: str) -> Sequence[PendingInput]:
        """Wait until calls of these tools wait, and return their inputs, one each."""

        async def all_wait() -> Sequence[PendingInput] | None:
            inputs = (await self.handle.query(AgentWorkflow.pending_inputs)).inputs
            by_tool = {each.tool: each for each in inputs}
            return [by_tool[each] for each in tools] if by_tool.keys() >= set(tools) else None

        return await eventually(all_wait, what=f"inputs of {tools}")

    async def approve(self, found: PendingInput, **fields: Any) -> InputResolution:
        """Approve a call."""
        approval = InputApproval(
            arguments_json=fields.pop("arguments_json", ""), remember=fields.pop("remember", False)
        )
        return await self.submit(found, approve=approval, **fields)

    async def deny(self, found: PendingInput, reason: str = "", **fields: Any) -> InputResolution:
        """Deny a call."""
        return await self.submit(found, deny=InputDenial(reason=reason), **fields)

    async def reply(self, found: PendingInput, text: str, **fields: Any) -> InputResolution:
        """Answer a question."""
        return await self.submit(found, reply=InputAnswer(text=text), **fields)

    async def decline(self, found: PendingInput, reason: str = "") -> InputResolution:
        """Say that nobody will answer."""
        return await self.submit(found, decline=InputDecline(reason=reason))

    async def submit(
        self,
        found: PendingInput,
        *,
        principal: str = "bob",
        request_id: str = "",
        digest: str | None = None,
        **answer: Any,
    ) -> InputResolution:
        """Answer as the API does."""
        request = SubmitAgentInputRequest(
            id=self.handle.id,
            input_id=found.id,
            arguments_digest=found.arguments_digest if digest is None else digest,
            request_id=request_id or uuid.uuid4().hex,
            **answer,
        )
        update_id = f"{principal}-{request.request_id}"
        submitted = SubmitInput(request=request, principal=principal, update_id=update_id)
        return await self.handle.execute_update(AgentWorkflow.submit_input, submitted, id=update_id)

    async def send(self, text: str, request_id: str = "") -> None:
        """Send a message."""
        update_id = request_id or uuid.uuid4().hex
        sent = SendMessage(text=text, principal="alice", update_id=update_id)
        await self.handle.execute_update(AgentWorkflow.send_message, sent, id=update_id)


def refusal_of(error: WorkflowUpdateFailedError) -> str:
    """The type of the error that an update was refused with."""
    assert isinstance(error.cause, ApplicationError)
    return error.cause.type or ""
