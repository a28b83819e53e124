"""Watches whose stream breaks: they are resumed for a bounded time, which is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_COMPLETED, AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    ExecutionEnded,
    ExecutionStarted,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    AgentExecutionServiceServicer,
    add_AgentExecutionServiceServicer_to_server,
)
from stigma_cli import execution_calls
from stigma_cli.errors import CliError, Exit
from tests.stack.stand_in_api import serving

if TYPE_CHECKING:
    from conftest import Stigma


class BreakingStreams(AgentExecutionServiceServicer):
    """An API whose streams break: the first one after an event, so many others before one."""

    def __init__(self, breaks: int, code: grpc.StatusCode) -> None:
        self._breaks, self._code = breaks, code
        self.cursors: list[str] = []

    async def WatchAgentExecution(self, request: Any, context: Any) -> Any:
        self.cursors.append(request.cursor)
        execution = AgentExecution(id=request.id)
        if not request.cursor:
            yield WatchAgentExecutionResponse(
                cursor="1", started=ExecutionStarted(execution=execution)
            )
        if len(self.cursors) <= self._breaks:
            await context.abort(self._code, "the server stops: resume with the last cursor")
        execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
        yield WatchAgentExecutionResponse(cursor="2", ended=ExecutionEnded(execution=execution))


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_a_watch_goes_on_where_it_broke_more_than_a_few_times(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode
) -> None:
    monkeypatch.setattr(execution_calls, "_RESUME_WAIT_SECONDS", 0.0)
    api = BreakingStreams(20, code)  # type: ignore[abstract]
    async with serving(api, add_AgentExecutionServiceServicer_to_server) as address:
        watched = await stigma("execution", "watch", "agent-1", STIGMA_API_ADDRESS=address)
    assert watched.exit_code == Exit.OK, watched.output
    assert api.cursors == ["", *["1"] * 20]
    assert watched.stderr.count("trying again for 60 s") == 1
    assert len(watched.stdout.splitlines()) == 2


async def test_a_stream_that_breaks_once_is_resumed_without_a_word(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_calls, "_RESUME_WAIT_SECONDS", 0.0)
    api = BreakingStreams(1, grpc.StatusCode.UNAVAILABLE)  # type: ignore[abstract]
    async with serving(api, add_AgentExecutionServiceServicer_to_server) as address:
        watched = await stigma("execution", "watch", "agent-1", STIGMA_API_ADDRESS=address)
    assert (watched.exit_code, watched.stderr) == (Exit.OK, "")


async def test_a_watch_gives_up_an_api_that_does_not_come_back(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_calls, "_RESUME_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(execution_calls, "_RESUME_WITHIN_SECONDS", 0.5)
    api = BreakingStreams(10**9, grpc.StatusCode.UNAVAILABLE)  # type: ignore[abstract]
    async with serving(api, add_AgentExecutionServiceServicer_to_server) as address:
        watched = await stigma("execution", "watch", "agent-1", STIGMA_API_ADDRESS=address)
    assert watched.exit_code == Exit.UNREACHABLE
    assert watched.stderr.count("trying again") == 1
    assert len(api.cursors) > 2


def test_a_stream_that_lasted_begins_another_time() -> None:
    """The API ends each stream after an hour: a watch of days outlives many ends."""
    now = 0.0
    lost = CliError("lost", code=Exit.UNREACHABLE)
    outage = execution_calls._Outage(lambda: now)
    for _ in range(20):
        outage.open()
        now += 3600
        outage.note(lost)
    outage.open()
    now += 59
    outage.note(lost)
    outage.open()
    now += 1
    with pytest.raises(CliError):
        outage.note(lost)
