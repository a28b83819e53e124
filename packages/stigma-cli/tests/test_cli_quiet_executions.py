"""Notes on what a quiet execution waits for, where the API learns it late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_PENDING,
    AGENT_EXECUTION_PHASE_RUNNING,
    AgentExecution,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    ExecutionEnded,
    ExecutionStarted,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    AgentExecutionServiceServicer,
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.diagnosis.v1.diagnosis_service_pb2 import ListStuckExecutionsResponse
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import (
    DiagnosisServiceServicer,
    add_DiagnosisServiceServicer_to_server,
)
from stigma_cli.errors import Exit
from tests.stack.stand_in_api import serving

if TYPE_CHECKING:
    from conftest import Stigma


class LatePhase(AgentExecutionServiceServicer, DiagnosisServiceServicer):
    """An API whose execution waits for its turn, as no worker tells at the first look."""

    def __init__(self) -> None:
        self._looks = 0
        self._told = asyncio.Event()

    async def GetAgentExecution(self, request: Any, context: Any) -> AgentExecution:
        self._looks += 1
        is_known = self._looks > 1
        if is_known:
            self._told.set()
        execution = AgentExecution(id=request.id)
        execution.spec.session_id = "talk"
        execution.status.phase = (
            AGENT_EXECUTION_PHASE_PENDING if is_known else AGENT_EXECUTION_PHASE_RUNNING
        )
        return execution

    async def WatchAgentExecution(self, request: Any, context: Any) -> Any:
        execution = AgentExecution(id=request.id)
        yield WatchAgentExecutionResponse(started=ExecutionStarted(execution=execution))
        await self._told.wait()
        execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
        yield WatchAgentExecutionResponse(ended=ExecutionEnded(execution=execution))

    async def ListStuckExecutions(self, request: Any, context: Any) -> ListStuckExecutionsResponse:
        return ListStuckExecutionsResponse()


async def test_a_wait_that_the_first_look_does_not_find_is_told_later(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.quiet_executions._LOOKS", (0.05,))
    api = LatePhase()  # type: ignore[abstract]
    services = add_AgentExecutionServiceServicer_to_server, add_DiagnosisServiceServicer_to_server
    async with serving(api, *services) as address:
        watched = await stigma("execution", "watch", "agent-1", STIGMA_API_ADDRESS=address)
    assert watched.exit_code == Exit.OK
    assert watched.stderr == "stigma: PENDING: it waits for its turn in session talk\n"
