"""Agents with servers that others wrote, over both transports, killed in mid-call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from tests.mcp_servers.agents import Call, McpInstallation
from tests.mcp_servers.programs import Programs
from tests.mcp_servers.servers import (
    EVERYTHING,
    TIME,
    Servers,
    servers_over,
)

NOON: Call = (
    "convert_time",
    {"source_timezone": "Europe/Rome", "time": "12:00", "target_timezone": "Asia/Tokyo"},
)


@pytest.fixture(params=["http", "stdio"])
async def servers(
    request: pytest.FixtureRequest, programs: Programs, tmp_path: Path
) -> AsyncIterator[Servers]:
    async with servers_over(request.param, programs, tmp_path) as found:
        yield found


@asynccontextmanager
async def page_that_is_waited_for() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Yield the URL of a page that never comes, and what is set when it is fetched."""
    fetched = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fetched.set()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/page", fetched
    finally:
        listener.close()


async def test_calls_of_servers_that_are_killed_are_unknown(
    servers: Servers, installation: McpInstallation
) -> None:
    async with (
        page_that_is_waited_for() as (page, fetched),
        installation.ai_worker(*servers.resources()) as connected,
    ):
        time = connected.find(TIME)
        assert time is not None
        calls: list[list[Call]] = [
            [("gzip-file-as-resource", {"data": page})],
            [NOON],
            [("echo", {"message": "next"}), NOON],
        ]
        agent = await installation.apply(EVERYTHING, *calls, also=[TIME])
        execution = await installation.start(agent)
        async with asyncio.timeout(100):
            await fetched.wait()
            servers.hold_time()
            await servers.kill(EVERYTHING)
            await servers.wait_for_held(time)
            await servers.kill(TIME)
            run = await installation.ended(execution)
    assert run.outcomes == ["UNKNOWN", "UNKNOWN", "OK", "OK"]
    assert "may have happened" in run.results[0].content
    assert run.results[2].content == "Echo: next"
    found = json.loads(run.results[3].content)
    assert found["target"]["datetime"].endswith("+09:00")


async def test_what_a_server_answers_reaches_the_model(
    servers: Servers, installation: McpInstallation
) -> None:
    calls: list[Call] = [
        ("get-sum", {"a": 2, "b": 3}),
        ("get-tiny-image", {}),
        ("get-structured-content", {"location": "Chicago"}),
        ("get-env", {}),
        ("get-sum", {"a": "two", "b": 3}),
    ]
    async with installation.ai_worker(*servers.resources()):
        run = await installation.run(EVERYTHING, calls)
    assert run.outcomes == ["OK", "OK", "OK", "OK", "REFUSED"]
    assert run.results[0].content == "The sum of 2 and 3 is 5."
    assert "[image/png, " in run.results[1].content
    assert "temperature" in run.results[2].content
    # What a process of the worker gets is empty; the one beside it has what the test gave it.
    assert json.loads(run.results[3].content).keys() == servers.variables


async def test_a_server_of_2025_asks_and_runs_tasks(
    servers: Servers, installation: McpInstallation
) -> None:
    """A page by an error, which a person opens; a question within a call; a tool for tasks only."""
    page = "https://example.org/consent"
    calls: list[Call] = [
        ("trigger-url-elicitation", {"url": page, "errorPath": True}),
        ("trigger-elicitation-request", {}),
        ("simulate-research-query", {"topic": "tides", "ambiguous": True}),
    ]
    installation.asked.clear()
    async with installation.ai_worker(*servers.resources()):
        run = await installation.run(EVERYTHING, calls, answer=InputAnswer(text="done"))
    assert [each.url for each in installation.asked] == ["https://modelcontextprotocol.io"]
    assert run.outcomes == ["OK", "OK", "OK"]
    # Once the page is opened, the call asks within itself, as the second one does from the start.
    for result in run.results[:2]:
        assert "declined" in result.content
        assert "protocol version 2025-11-25" in result.content
    assert "Research Report: tides (User declined" in run.results[2].content
