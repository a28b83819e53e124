"""What a user gets wrong, or finds broken: one clear line, the right code, nothing started."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest, GetAgentRequest
from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import failure_of
from tests.integration.installation import KEY, Installation
from tests.stack.command_line import Ran, stigma
from tests.stack.faults import FaultProxy
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.stack import Stack

HEAD = "document: {dsl: '1.0.3', namespace: tests, name: bad-input, version: '1.0.0'}\n"
FAILED, USAGE, UNREACHABLE, NOT_FOUND, PERMISSION = 1, 2, 3, 4, 5
NO_SERVER = "127.0.0.1:1"


@pytest.fixture
def settings(installation: Installation) -> dict[str, str]:
    """A user's settings."""
    stack = installation.stack
    return {
        "STIGMA_API_ADDRESS": stack.api_address,
        "STIGMA_API_KEY": KEY,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "TEMPORAL_NAMESPACE": stack.namespace,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }


def assert_refused(ran: Ran, code: int, *said: str) -> None:
    """Assert the exit code, and one line that says what is wrong, with at most a hint after it.

    Notes may come before it: of what was started, or is waited for.
    """
    assert ran.code == code, ran
    assert ran.stdout == ""
    lines = [line for line in ran.stderr.splitlines() if not line.startswith("stigma: ")]
    assert 1 <= len(lines) <= 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert KEY not in ran.stderr
    for text in said:
        assert text in lines[0], ran.stderr


async def refused(rpc: Any, request: Any, code: grpc.StatusCode, *said: str) -> None:
    """Assert an RPC's code, and one line that says what is wrong."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(request, timeout=20)
    line = caught.value.details() or ""
    assert caught.value.code() is code, line
    assert line
    assert "\n" not in line
    assert len(line) < 500
    for text in said:
        assert text in line


async def runs_of(installation: Installation, document: str) -> list[str]:
    """The runs that were started of a document, by name."""
    query = f'WorkflowType = "{document}" AND TaskQueue = "{installation.stack.queues.engine}"'
    return [run.id async for run in installation.client.list_workflows(query)]


async def test_unknown_agent(installation: Installation, settings: dict[str, str]) -> None:
    called = await installation.call(PythonCaller, Job("nobody", "hello"))
    failure = await failure_of(called)
    assert failure.type == "AGENT_EXECUTION_FAILED"
    assert "NOT_FOUND: agent nobody not found" in failure.message
    assert not await installation.exists(called.execution_id)
    assert_refused(await stigma("agent", "get", "nobody", **settings), NOT_FOUND, "agent nobody")


async def test_unknown_agent_in_a_document(settings: dict[str, str], tmp_path: Path) -> None:
    document = tmp_path / "document.yaml"
    document.write_text(
        HEAD.replace("bad-input", "unknown-agent")
        + "do: [{ask: {call: agent, with: {agent: nobody, message: hi}}}]\n"
    )
    ran = await stigma("run", str(document), **settings)
    assert_refused(ran, FAILED, "agent nobody not found", "/do/0/ask")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{model: no-colon}", "/spec/model"),
        ("{model: 'scripted:x', output_schema: '{\"type\": 7}'}", "output_schema"),
        ("{model: 'scripted:x', limits: {steps: -1}}", "/spec/limits/steps"),
        ("{model: 'scripted:x', modle: y}", "modle"),
        ("[]", "spec"),
    ],
    ids=["model", "schema", "limit", "unknown-key", "shape"],
)
async def test_malformed_agent(
    installation: Installation, settings: dict[str, str], tmp_path: Path, spec: str, field: str
) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        f"apiVersion: stigma/v1\nkind: Agent\nmetadata: {{name: malformed}}\nspec: {spec}\n"
    )
    assert_refused(await stigma("agent", "apply", "-f", str(file), **settings), USAGE, field)
    request = GetAgentRequest(id="malformed")
    await refused(installation.agents.GetAgent, request, grpc.StatusCode.NOT_FOUND)


async def test_five_megabytes(
    installation: Installation, settings: dict[str, str], tmp_path: Path
) -> None:
    request_id = uuid.uuid4().hex
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await installation.start(agent_id="echo", message="m" * 5_000_000, request_id=request_id)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "message" in (caught.value.details() or "")
    assert "5000000" in (caught.value.details() or "")
    assert not await installation.exists(installation.execution_id(request_id))

    document, data = tmp_path / "document.yaml", tmp_path / "input.json"
    document.write_text(HEAD + "do: [{ok: {set: {a: 1}}}]\n")
    for size, said in ((5_000_000, "larger than"), (2_000_000, "the limit is")):
        data.write_text(json.dumps("m" * size))
        ran = await stigma("run", str(document), "--input", f"@{data}", **settings)
        assert_refused(ran, USAGE, said, "bytes")
    assert await runs_of(installation, "bad-input") == []


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ("do: [{ok: {set: {a: 1}}\n", ""),
        ("do: [{ok: {sett: {a: 1}}}]\n", "expected a task"),
        ("do: [{ask: {call: agent, with: {agent: echo}, then: nowhere}}]\n", "nowhere"),
        ("do: [{ok: {call: agent, with: {agent: a, massage: hi}}}]\n", "massage"),
    ],
    ids=["bad-yaml", "unknown-key", "then-to-nowhere", "unknown-argument"],
)
async def test_bad_document(
    installation: Installation, settings: dict[str, str], tmp_path: Path, tasks: str, said: str
) -> None:
    file = tmp_path / "document.yaml"
    name = f"bad-{uuid.uuid4().hex}"
    file.write_text(HEAD.replace("bad-input", name) + tasks)
    validated = await stigma("validate", str(file), **settings)
    # What is found in a document is what was asked for, and so on stdout; the rest is an error.
    said_of_it = (validated.stdout + validated.stderr).strip().splitlines()
    [line] = [each for each in said_of_it if not each.startswith("stigma: warning: ")]
    assert validated.code == USAGE
    assert re.search(r"document.yaml:\d+:", line)
    assert said in line
    ran = await stigma("run", str(file), **settings)
    assert_refused(ran, USAGE, said)
    assert re.search(rf"{name}-[-0-9a-f]+", ran.stderr) is None
    assert await runs_of(installation, name) == []


async def test_wrong_key(settings: dict[str, str]) -> None:
    settings["STIGMA_API_KEY"] = "not-the-key"
    ran = await stigma("agent", "list", **settings)
    assert_refused(ran, PERMISSION, "key is not known")
    assert "not-the-key" not in ran.stderr


async def test_no_key(settings: dict[str, str]) -> None:
    del settings["STIGMA_API_KEY"]
    assert_refused(await stigma("agent", "list", **settings), PERMISSION)


async def test_unreachable_api(settings: dict[str, str]) -> None:
    settings["STIGMA_API_ADDRESS"] = NO_SERVER
    ran = await stigma("agent", "list", **settings)
    assert_refused(ran, UNREACHABLE, "cannot reach", NO_SERVER)


async def test_unreachable_temporal(settings: dict[str, str], tmp_path: Path) -> None:
    settings["TEMPORAL_ADDRESS"] = NO_SERVER
    file = tmp_path / "document.yaml"
    file.write_text(HEAD + "do: [{ok: {set: {a: 1}}}]\n")
    ran = await stigma("run", str(file), **settings)
    assert_refused(ran, UNREACHABLE, "cannot reach", NO_SERVER)


# --- an API of its own, to be cut off and starved


@pytest.fixture(scope="module")
async def proxy(temporal_server: TemporalServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(temporal_server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def lonely(new_stack: StartStack, proxy: FaultProxy) -> Stack:
    """An API that reaches Temporal through the proxy."""
    return await new_stack(
        services=["stigma_api"], environment={"*": {"TEMPORAL_ADDRESS": proxy.address}}
    )


async def test_api_without_temporal(lonely: Stack, proxy: FaultProxy) -> None:
    spec = AgentSpec(model="scripted:x")
    await lonely.agents.ApplyAgent(ApplyAgentRequest(agent=Agent(name="echo", spec=spec)))
    await proxy.cut()
    try:
        ran = await stigma("execution", "get", "agent-any", STIGMA_API_ADDRESS=lonely.api_address)
        assert_refused(ran, UNREACHABLE)
        # The registry is its own: what does not need Temporal still works.
        assert (await stigma("agent", "list", STIGMA_API_ADDRESS=lonely.api_address)).code == 0
    finally:
        await proxy.start()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: limits of another process")
async def test_full_disk(lonely: Stack, tmp_path: Path) -> None:
    """The registry's file may not grow: what was there stays readable, and it recovers."""
    process = psutil.Process(lonely.process("stigma_api").pid)
    small = Agent(name="small", spec=AgentSpec(model="scripted:x"))
    await lonely.agents.ApplyAgent(ApplyAgentRequest(agent=small))
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (128 * 1024, before[1]))
    file = tmp_path / "agent.yaml"
    file.write_text(
        "apiVersion: stigma/v1\nkind: Agent\nmetadata: {name: large}\n"
        f"spec: {{model: 'scripted:x', instructions: '{'i' * 250_000}'}}\n"
    )
    try:
        ran = await stigma("agent", "apply", "-f", str(file), STIGMA_API_ADDRESS=lonely.api_address)
        assert ran.code in {FAILED, UNREACHABLE}
        assert_refused(ran, ran.code, "registry")
        await refused(
            lonely.agents.GetAgent, GetAgentRequest(id="large"), grpc.StatusCode.NOT_FOUND
        )
        assert (await lonely.agents.GetAgent(GetAgentRequest(id="small"))).version == 1
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)
    ran = await stigma("agent", "apply", "-f", str(file), STIGMA_API_ADDRESS=lonely.api_address)
    assert ran.code == 0, ran
    assert (await lonely.agents.GetAgent(GetAgentRequest(id="large"))).version == 1
