"""Questions that an MCP server asks people before it goes on with a call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, timedelta

from temporalio import workflow

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    PendingInput,
    PendingInputKind,
)
from stigma.contracts import json_text, limits
from stigma.internal.v1.execution_pb2 import McpQuestion, SubmitInput
from stigma_orchestrator.agents.call_input import input_id, new_input
from stigma_orchestrator.agents.inputs import PendingInputs
from stigma_orchestrator.agents.mcp_step import McpStep


@dataclass(frozen=True)
class ServerQuestions:
    """Questions of the server of one call."""

    step: McpStep
    inputs: PendingInputs
    expires_after: timedelta

    async def ask(self) -> bool:
        """Wait for the answers to all of them; return False when some expire."""
        while not self._fits():  # several calls may wait for the same room
            await workflow.wait_condition(self._fits)
        opened = self.step.opened
        waiting = [
            (question, self._input(question))
            for question in opened.asked
            if not question.response_json
        ]
        await asyncio.gather(*(self._answer(question, found) for question, found in waiting))
        if self.step.has_task and waiting:
            # Its time stands still while people are waited for.
            waited = workflow.now() - min(each.request_time.ToDatetime(UTC) for _, each in waiting)
            opened.expire_time.FromDatetime(opened.expire_time.ToDatetime(UTC) + waited)
        return all(each.response_json for each in opened.asked)

    def _fits(self) -> bool:
        """Return whether there is room for the questions beside what is waited for."""
        added = sum(
            not each.response_json and self.inputs.find(self._id(each)) is None
            for each in self.step.opened.asked
        )
        return not added or self.inputs.count + added <= limits.MAX_PENDING_INPUTS

    async def _answer(self, question: McpQuestion, found: PendingInput) -> None:
        submitted = await self.inputs.wait(found)
        if submitted is not None:
            question.response_json = _response(submitted)

    def _input(self, question: McpQuestion) -> PendingInput:
        """Return the pending input of a question: of the run before, or a new one."""
        context, call, id_ = self.step.context, self.step.call, self._id(question)
        carried = self.inputs.find(id_)
        found = carried or new_input(context, call, id_, _kind(question), self.expires_after)
        found.arguments_json = call.arguments_json
        found.question, found.schema, found.url = question.message, question.schema, question.url
        if carried is None:
            self.inputs.add(found)
        return found

    def _id(self, question: McpQuestion) -> str:
        return input_id(self.step.context, self.step.call, _kind(question), question.number)


def _kind(question: McpQuestion) -> PendingInputKind.ValueType:
    return PENDING_INPUT_KIND_AUTHORIZATION if question.url else PENDING_INPUT_KIND_ELICITATION


def _response(submitted: SubmitInput) -> str:
    """Return the response of the protocol to a question."""
    request = submitted.request
    if request.HasField("decline"):
        return json_text.compact({"action": "decline"})
    if not request.reply.HasField("json"):
        return json_text.compact({"action": "accept"})
    content = json_text.parse(request.reply.json)
    return json_text.compact({"action": "accept", "content": content})
