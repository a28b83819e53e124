"""The principals file while the server runs: what changes in it counts without a restart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from services.stigma_api.tests.api_server import SCRIPTED, Api, refused, running_api
from services.stigma_api.tests.consoles import http_client
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest, ListAgentsRequest
from stigma_api.access.principals import Principals, PrincipalsError
from tests.stack.waiting import eventually

ORDINARY = "[agents.read, executions.start, executions.read]"
SECRET_KEY = "sk-a-key-that-stands-where-its-hash-belongs"


def key(name: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {name}-key")]}


def principal(name: str) -> str:
    return (
        f"  - {{name: {name}, key_sha256: [{hashlib.sha256(f'{name}-key'.encode()).hexdigest()}]}}"
    )


def listing(*names: str) -> str:
    return "\n".join(["principals:", *map(principal, names), ""])


class PrincipalsOnDisk:
    """A principals file, replaced as a Secret's volume does it: at once, by a rename."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "principals.yaml"

    def say(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)


async def answers(api: Api, name: str) -> bool:
    """Whether the API knows a principal's key."""
    try:
        await api.agents.ListAgents(ListAgentsRequest(), **key(name))
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.UNAUTHENTICATED:
            raise
        return False
    return True


def reloads(api: Api, outcome: str) -> float:
    name = "stigma_principals_reloads_total"
    return api.runtime.metrics.get_sample_value(name, {"outcome": outcome}) or 0


async def changes(api: Api, count: int) -> None:
    """Wait until so many changed files have been loaded."""
    await eventually(lambda: reloads(api, "loaded") == count, what=f"change {count}")


@pytest.fixture
def file(tmp_path: Path) -> PrincipalsOnDisk:
    written = PrincipalsOnDisk(tmp_path)
    written.say(listing("first"))
    return written


async def test_a_changed_file_counts_and_a_broken_one_changes_nothing(
    temporal_server: Any, tmp_path: Path, file: PrincipalsOnDisk
) -> None:
    serving = running_api(
        temporal_server.address,
        tmp_path,
        principals=Principals.load(file.path),
        principals_file=file.path,
        console_enabled=True,
        console_port=0,
    )
    with capture_logs() as events:
        async with serving as api, http_client(api) as browser:
            signed_in = await browser.post("/login", data={"key": "first-key", "next": "/agents"})
            assert signed_in.status_code == 303
            assert (await browser.get("/agents")).status_code == 200
            assert await answers(api, "first")
            assert not await answers(api, "second")

            file.say(listing("second"))
            await eventually(lambda: answers(api, "second"), what="the new principal")
            assert not await answers(api, "first")
            # The console's session was of a key that is gone.
            assert (await browser.get("/agents")).status_code == 401
            assert reloads(api, "loaded") == 1

            file.say(f"principals: [{{name: third, key_sha256: [{SECRET_KEY}]}}]")
            await eventually(lambda: reloads(api, "refused") == 1, what="the first refusal")
            file.say(f"- [{SECRET_KEY}")
            await eventually(lambda: reloads(api, "refused") == 2, what="the second refusal")
            file.path.unlink()
            await eventually(lambda: reloads(api, "refused") == 3, what="the missing file")
            assert await answers(api, "second")

            file.say(listing("second", "fourth"))
            await eventually(lambda: answers(api, "fourth"), what="the corrected file")
            assert await answers(api, "second")
            assert reloads(api, "loaded") == 2
            assert reloads(api, "refused") == 3
    refusals = [event["reason"] for event in events if event["event"] == "principals_refused"]
    assert [reason.partition(":")[0] for reason in refusals] == [
        "principals.0.key_sha256.0",
        "is no YAML, line 1",
        "No such file or directory",
    ]
    assert SECRET_KEY not in str(events)
    loaded = [event["principals"] for event in events if event["event"] == "principals_loaded"]
    assert loaded == [1, 2]


async def test_what_changes_while_the_server_starts_counts_too(
    temporal_server: Any, tmp_path: Path, file: PrincipalsOnDisk
) -> None:
    read = Principals.load(file.path)
    file.say(listing("second"))
    async with running_api(
        temporal_server.address, tmp_path, principals=read, principals_file=file.path
    ) as api:
        await eventually(lambda: answers(api, "second"), what="the newer file")
        async with refused(grpc.StatusCode.UNAUTHENTICATED):
            await api.agents.ListAgents(ListAgentsRequest(), **key("first"))


@pytest.mark.parametrize("text", ["", "principals: 2001-99-99", "[" * 1200, "\xff", "a: {[b]: c}"])
def test_whatever_a_file_holds_is_at_most_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PrincipalsError):
        Principals.parse(text.encode("latin-1"), tmp_path)


async def test_an_open_watch_gets_nothing_more_once_its_key_is_gone(
    temporal_server: Any, tmp_path: Path, file: PrincipalsOnDisk
) -> None:
    root = f"{principal('root').removesuffix('}')}, actions: [admin]}}"
    first = f"{principal('first').removesuffix('}')}, actions: {ORDINARY}}}"
    narrowed = first.replace("executions.start, ", "")
    file.say("\n".join(["principals:", root, first]))
    async with running_api(
        temporal_server.address,
        tmp_path,
        principals=Principals.load(file.path),
        principals_file=file.path,
    ) as api:
        await api.agents.ApplyAgent(
            ApplyAgentRequest(agent=Agent(name="reviewer", spec=SCRIPTED)), **key("root")
        )
        gone, changed = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE
        for number, (left, code) in enumerate([("", gone), (narrowed, changed)]):
            start = StartAgentRequest(agent_id="reviewer")
            started = await api.executions.StartAgent(start, **key("first"))
            watched = api.executions.WatchAgentExecution(
                WatchAgentExecutionRequest(id=started.id), **key("first")
            )
            assert (await watched.read()).HasField("started")
            file.say("\n".join(["principals:", root, left]))
            await changes(api, 2 * number + 1)
            cancel = CancelAgentExecutionRequest(id=started.id)
            await api.executions.CancelAgentExecution(cancel, **key("root"))
            async with refused(code):
                await watched.read()
            file.say("\n".join(["principals:", root, first]))
            await changes(api, 2 * number + 2)
