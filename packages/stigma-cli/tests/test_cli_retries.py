"""Calls that are made again while the API restarts: each counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, InputResolution, PendingInput
from stigma.agent.v1.agent_execution_service_pb2 import (
    ListPendingInputsResponse,
    SendAgentMessageResponse,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    AgentExecutionServiceServicer,
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
    WorkflowExecutionServiceServicer,
    add_WorkflowExecutionServiceServicer_to_server,
)
from stigma_cli.errors import Exit
from tests.stack.stand_in_api import serving

if TYPE_CHECKING:
    from conftest import Stigma


class LostReplies(AgentExecutionServiceServicer, WorkflowExecutionServiceServicer):
    """An API whose first replies are lost on their way."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.requests: list[str] = []

    async def SubmitAgentInput(self, request: Any, context: Any) -> InputResolution:
        await self._lose(request, context)
        return InputResolution(input_id=request.input_id, by="alice")

    async def SendAgentMessage(self, request: Any, context: Any) -> SendAgentMessageResponse:
        await self._lose(request, context)
        return SendAgentMessageResponse()

    async def StartAgent(self, request: Any, context: Any) -> AgentExecution:
        await self._lose(request, context)
        return AgentExecution(id="agent-1")

    async def StartWorkflow(self, request: Any, context: Any) -> WorkflowExecution:
        await self._lose(request, context)
        return WorkflowExecution(id="workflow-1")

    async def ListPendingInputs(self, request: Any, context: Any) -> ListPendingInputsResponse:
        return ListPendingInputsResponse(inputs=[PendingInput(id=request.input_id)])

    async def _lose(self, request: Any, context: Any) -> None:
        self.requests.append(request.request_id)
        if len(self.requests) <= self.losses:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")


@pytest.mark.parametrize(
    "command",
    [
        ("execution", "deny", "agent-1", "approval-1-1"),
        ("execution", "send", "agent-1", "hello"),
        ("agent", "ask", "reviewer", "hello", "--detach"),
        ("workflow", "start", "review"),
    ],
    ids=lambda command: command[1],
)
async def test_a_lost_reply_is_asked_for_with_the_same_request_id(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("stigma_cli.connections._RETRY_SECONDS", 0)
    for losses, code, seconds in ((2, Exit.OK, 60), (10**9, Exit.UNREACHABLE, 0)):
        monkeypatch.setattr("stigma_cli.connections._RETRY_WITHIN_SECONDS", seconds)
        api = LostReplies(losses)  # type: ignore[abstract]
        async with serving(
            api,
            add_AgentExecutionServiceServicer_to_server,
            add_WorkflowExecutionServiceServicer_to_server,
        ) as address:
            answered = await stigma(*command, STIGMA_API_ADDRESS=address)
        assert answered.exit_code == code, answered.output
        assert len(api.requests) == (3 if code is Exit.OK else 1)
        assert answered.stderr.count("trying again") == (1 if code is Exit.OK else 0)
        assert len(set(api.requests)) == 1
        assert api.requests[0]


async def test_a_lost_reply_does_not_end_a_chat(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.connections._RETRY_SECONDS", 0)
    api = LostReplies(2)  # type: ignore[abstract]
    async with serving(
        api,
        add_AgentExecutionServiceServicer_to_server,
        add_WorkflowExecutionServiceServicer_to_server,
    ) as address:
        shown = await stigma("chat", "reviewer", stdin="hello\n", STIGMA_API_ADDRESS=address)
    assert "started agent-1" in shown.output
    assert len(api.requests) == 3
    assert len(set(api.requests)) == 1
