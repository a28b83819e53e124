"""Commands against servers that accept connections and never answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    AgentExecutionServiceServicer,
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.workflow.v1.workflow_service_pb2_grpc import (
    WorkflowServiceServicer,
    add_WorkflowServiceServicer_to_server,
)
from stigma_cli import connections, doctor, temporal_connections
from stigma_cli.connections import LONG_CALL_TIMEOUT_SECONDS
from stigma_cli.errors import Exit
from tests.stack.stand_in_api import serving

if TYPE_CHECKING:
    from conftest import Stigma

AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: somebody}
spec: {model: 'scripted:test', script: {steps: [{text: done}]}}
"""
DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: calling, version: '1.0.0'}
do:
  - ask: {call: agent, with: {agent: somebody, message: hi}}
"""


@pytest.fixture
async def hanging() -> AsyncIterator[str]:
    """Return the address of a server that accepts connections and never answers."""
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    for each in accepted:
        each.close()


async def test_a_doctor_tells_soon_of_servers_that_hang(
    stigma: Stigma, hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = connections.CALL_TIMEOUT_SECONDS
    assert others > doctor._TIMEOUT_SECONDS
    monkeypatch.setattr(doctor, "_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(doctor, "_ANSWER_SECONDS", 0.5)
    began = time.monotonic()
    checked = await stigma("doctor", STIGMA_API_ADDRESS=hanging, TEMPORAL_ADDRESS=hanging)
    assert time.monotonic() - began < others
    assert checked.exit_code == Exit.FAILED
    assert f"WRONG api: Stigma's API at {hanging} did not answer in time\n" in checked.output
    assert f"WRONG temporal: Temporal at {hanging} did not answer in time\n" in checked.output


async def test_a_doctor_does_not_take_the_time_of_a_slow_api_for_temporals(
    stigma: Stigma, env: dict[str, str], hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_TIMEOUT_SECONDS", 5.0)
    monkeypatch.setattr(doctor, "_ANSWER_SECONDS", 6.0)
    checked = await stigma("doctor", **{**env, "STIGMA_API_ADDRESS": hanging})
    assert f"WRONG api: Stigma's API at {hanging} did not answer in time\n" in checked.output
    assert "temporal: answers at" in checked.output
    assert "WRONG temporal" not in checked.output


async def test_a_command_says_what_it_waits_for(
    stigma: Stigma, tmp_path: Path, hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.slow_answers.NOTE_AFTER_SECONDS", 0.1)
    monkeypatch.setattr("stigma_cli.connections.CALL_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("stigma_cli.temporal_connections.CONNECT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("stigma_cli.document_warnings._TIMEOUT_SECONDS", 0.3)
    file = tmp_path / "document.yaml"
    file.write_text(DOCUMENT)
    settings = {"STIGMA_API_ADDRESS": hanging, "TEMPORAL_ADDRESS": hanging}
    asked = await stigma("agent", "list", **settings)
    assert asked.exit_code == Exit.UNREACHABLE
    assert asked.stderr.startswith(f"stigma: waiting for Stigma's API at {hanging}")
    assert f"error: Stigma's API at {hanging} did not answer in time\n" in asked.stderr
    run = await stigma("run", file, **settings)
    assert run.exit_code == Exit.UNREACHABLE
    assert f"waiting for Temporal at {hanging}" in run.stderr
    assert f"error: Temporal at {hanging} did not answer in time\n" in run.stderr
    checked = await stigma("validate", file, **settings)
    assert checked.exit_code == Exit.OK
    assert f"warning: agents were not looked up: Stigma's API at {hanging}" in checked.stderr


async def test_a_long_call_waits_no_longer_for_a_connection_than_others(
    stigma: Stigma, tmp_path: Path, hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.connections.CALL_TIMEOUT_SECONDS", 0.5)
    file = tmp_path / "agent.yaml"
    file.write_text(AGENT)
    for command in (("agent", "apply", "-f", file), ("execution", "timeline", "agent-1")):
        began = time.monotonic()
        asked = await stigma(*command, STIGMA_API_ADDRESS=hanging)
        assert time.monotonic() - began < LONG_CALL_TIMEOUT_SECONDS
        assert asked.exit_code == Exit.UNREACHABLE
        assert f"Stigma's API at {hanging} did not answer in time\n" in asked.stderr


def test_neither_server_is_waited_for_much_longer_than_the_other() -> None:
    assert connections.CALL_TIMEOUT_SECONDS == temporal_connections.CONNECT_TIMEOUT_SECONDS == 10


async def test_a_long_call_gives_the_api_its_time(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers behind the API that do not answer are named by the API alone."""
    monkeypatch.setattr("stigma_cli.connections.CALL_TIMEOUT_SECONDS", 2.0)
    behind = BehindHangs(2.5)  # type: ignore[abstract]
    async with serving(behind, add_AgentExecutionServiceServicer_to_server) as address:
        stopped = await stigma(
            "execution", "cancel", "agent-1", "--after-step", STIGMA_API_ADDRESS=address
        )
        read = await stigma("execution", "get", "agent-1", STIGMA_API_ADDRESS=address)
    assert stopped.stderr.startswith("error: Temporal does not answer\n")
    assert read.stderr.startswith(f"error: Stigma's API at {address} did not answer in time\n")


async def test_a_watch_does_not_claim_to_know_what_it_cannot_reach(
    stigma: Stigma, hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.slow_answers.NOTE_AFTER_SECONDS", 0.1)
    monkeypatch.setattr("stigma_cli.connections.CALL_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("stigma_cli.quiet_executions._LOOKS", (0.1,))
    watched = await stigma("execution", "watch", "agent-1", STIGMA_API_ADDRESS=hanging)
    assert watched.exit_code == Exit.UNREACHABLE
    assert watched.stderr.splitlines() == [
        f"stigma: waiting for Stigma's API at {hanging} \N{HORIZONTAL ELLIPSIS}",
        f"error: Stigma's API at {hanging} did not answer in time",
        "hint: see its log and that of Temporal, or set STIGMA_API_ADDRESS",
    ]
    down = await stigma("execution", "watch", "workflow-1", STIGMA_API_ADDRESS="127.0.0.1:1")
    assert down.stderr.splitlines() == [
        "error: cannot reach Stigma's API at 127.0.0.1:1",
        "hint: start it with `stigma up`, or set STIGMA_API_ADDRESS",
    ]


class BehindHangs(AgentExecutionServiceServicer):
    """An API whose Temporal hangs, which it waits for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def GetAgentExecution(self, request: Any, context: Any) -> Any:
        await asyncio.sleep(self._seconds)
        problem = Status(
            code=grpc.StatusCode.UNAVAILABLE.value[0], message="Temporal does not answer"
        )
        await context.abort_with_status(rpc_status.to_status(problem))

    async def CancelAgentExecution(self, request: Any, context: Any) -> Any:
        await self.GetAgentExecution(request, context)

    async def WatchAgentExecution(self, request: Any, context: Any) -> Any:
        yield await self.GetAgentExecution(request, context)


@pytest.mark.parametrize("command", ["get", "watch"])
async def test_what_hangs_behind_the_api_is_named(
    stigma: Stigma, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # Late enough for the connection to be there, and no look for what else is the matter.
    monkeypatch.setattr("stigma_cli.slow_answers.NOTE_AFTER_SECONDS", 2.0)
    monkeypatch.setattr("stigma_cli.quiet_executions._LOOKS", (60.0,))
    behind = BehindHangs(2.5)  # type: ignore[abstract]
    async with serving(behind, add_AgentExecutionServiceServicer_to_server) as address:
        asked = await stigma("execution", command, "agent-1", STIGMA_API_ADDRESS=address)
    assert asked.exit_code == Exit.UNREACHABLE
    lines = asked.stderr.splitlines()
    assert lines[-2:] == [
        "error: Temporal does not answer",
        "hint: try again; `stigma doctor` shows which server does not answer",
    ]
    waits = f"stigma: waiting for Stigma's API at {address}, or Temporal behind it"
    assert [line.rpartition(" ")[0] for line in lines[:-2]] == [waits] * (command == "get")


class WithoutEngine(WorkflowServiceServicer):
    """An API that no engine answers."""

    async def ApplyWorkflow(self, request: Any, context: Any) -> Any:
        await asyncio.sleep(2.5)
        message = "no workflow engine checked the document within 10 s"
        problem = Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=message)
        await context.abort_with_status(rpc_status.to_status(problem))


async def test_an_engine_that_does_not_check_a_document_is_named(
    stigma: Stigma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stigma_cli.slow_answers.NOTE_AFTER_SECONDS", 2.0)
    file = tmp_path / "document.yaml"
    file.write_text(DOCUMENT)
    service = WithoutEngine()  # type: ignore[abstract]
    async with serving(service, add_WorkflowServiceServicer_to_server) as address:
        applied = await stigma("workflow", "apply", "--dry-run", file, STIGMA_API_ADDRESS=address)
    assert applied.exit_code == Exit.UNREACHABLE
    waits, error, hint = applied.stderr.splitlines()
    server = f"stigma: waiting for Stigma's API at {address}"
    assert waits.startswith(f"{server}, or Temporal or a worker behind it")
    assert error == f"error: {file}: no workflow engine checked the document within 10 s"
    assert hint.startswith("hint: start zigflow_worker, or see whether it hangs: ")
