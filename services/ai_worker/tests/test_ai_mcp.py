"""Connections to MCP servers: what is known of each call, and what is left at the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from ai_worker.mcp.failures import AnsweredError, LostError, NotSentError, RefusedError
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.results import read_result
from ai_worker.mcp.server import Server
from ai_worker.mcp.servers import Servers
from ai_worker.mcp.tool_session import ToolRequest
from ai_worker.mcp_resources import McpServerResource
from stigma.agent.v1.agent_execution_pb2 import TOOL_OUTCOME_ERROR, TOOL_OUTCOME_OK
from tests.stack.memory import memory_growth
from tests.stack.waiting import eventually

PROGRAM = Path(__file__).with_name("mcp_server.py")
LISTED = {"name": "act", "inputSchema": {"type": "object"}}
COMPLETE = {"resultType": "complete"}


class FaultyServer:
    """A server of 2026-07-28 that does with a call what the call's argument `how` says."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lists_nothing = False
        self.page_bytes: int | None = None
        """Size of each page of a list of tools without an end."""
        self.pages = 0
        self.token = ""
        """The only token that calls may have; empty: any."""
        self.unauthorized = 0
        self.called = asyncio.Event()
        self.left = asyncio.Event()
        """Set when a client has gone that waited."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        self._server.close()

    def resource(self, **fields: Any) -> McpServerResource:
        port = self._server.sockets[0].getsockname()[1]
        return McpServerResource(name="faulty", url=f"http://127.0.0.1:{port}/", **fields)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:-2]
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(json.loads(body), headers, reader, writer):
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def _answer(
        self,
        message: dict[str, Any],
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer a request; return False if the connection is to be closed."""
        if self.token and headers["authorization"] != f"Bearer {self.token}":
            self.unauthorized += 1
            writer.write(_head(401, 0))
            return True
        if message["method"] == "tools/call":
            arguments = message["params"]["arguments"]
            self.calls.append(arguments)
            self.headers.append(headers)
            self.called.set()
            answer = _answer_to_call(message, arguments)
        elif self.lists_nothing and message["method"] == "tools/list":
            answer = b"wait"
        elif self.page_bytes is not None and message["method"] == "tools/list":
            self.pages += 1
            page = {"tools": [LISTED | {"description": "x" * self.page_bytes}], "nextCursor": "on"}
            answer = _ok(_message(message, result=_ANSWERS["tools/list"] | page))
        else:
            answer = _ok(_message(message, result=_ANSWERS[message["method"]]))
        if answer == b"wait":
            await reader.read()
            self.left.set()
            return False
        writer.write(answer)
        return bool(answer) and not answer.endswith(_CUT)


_ANSWERS: dict[str, Any] = {
    "server/discover": COMPLETE
    | {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "public",
    },
    "tools/list": COMPLETE | {"tools": [LISTED], "ttlMs": 0, "cacheScope": "public"},
}
_CUT = b'{"jsonrpc"'


def _answer_to_call(message: dict[str, Any], arguments: dict[str, Any]) -> bytes:
    how = arguments.get("how", "")
    if isinstance(how, int):
        return _head(how, 0)
    error = _message(message, error={"code": -32602, "message": "no such tool"})
    event = _ok(b"data: secret\n\n").replace(b"application/json", b"text/event-stream")
    value = arguments.get("value", "") if how != "large" else "x" * 9_000_000
    odd = {
        "wait": b"wait",
        "close": b"",
        "cut": _head(200, 100) + _CUT,
        "unreadable": _ok(b"secret"),
        "bad event": event,
        "error": _head(400, len(error)) + error,
    }
    return odd.get(how, _ok(_message(message, result=_text(value))))


def _ok(body: bytes) -> bytes:
    return _head(200, len(body)) + body


def _head(status: int, length: int) -> bytes:
    kind = "content-type: application/json\r\n" if length else ""
    return f"HTTP/1.1 {status} Status\r\n{kind}content-length: {length}\r\n\r\n".encode()


def _message(request: dict[str, Any], **content: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], **content}).encode()


def _text(text: str) -> dict[str, Any]:
    return COMPLETE | {"content": [{"type": "text", "text": text}], "isError": False}


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyServer]:
    server = FaultyServer()
    await server.start()
    yield server
    await server.stop()


def _server(resource: McpServerResource) -> Server:
    return Server(resource, McpMetrics(CollectorRegistry()))


@pytest.fixture
async def server(faulty: FaultyServer) -> AsyncIterator[Server]:
    own = _server(faulty.resource(max_concurrency=200))
    yield own
    await own.close()


@pytest.mark.parametrize(
    ("how", "failure", "text"),
    [
        ("close", LostError, "connection"),
        ("cut", LostError, "connection"),
        ("large", LostError, "too large"),
        ("unreadable", LostError, "cannot be read"),
        ("bad event", LostError, "cannot be read"),
        (202, LostError, "cannot be read"),
        (500, LostError, "HTTP status 500"),
        (503, LostError, "HTTP status 503"),
        (400, RefusedError, "HTTP status 400"),
        (401, RefusedError, "HTTP status 401"),
        (429, RefusedError, "HTTP status 429"),
        ("error", AnsweredError, "answered with an error: no such tool"),
    ],
)
async def test_each_failure_says_what_is_known_of_the_call(
    faulty: FaultyServer, server: Server, how: object, failure: type[Exception], text: str
) -> None:
    with pytest.raises(failure, match=text):
        await server.call(ToolRequest("act", {"how": how}, {}), 30)
    assert (await server.call(ToolRequest("act", {"value": "next"}, {}), 30))["content"][0][
        "text"
    ] == "next"
    assert faulty.calls == [{"how": how}, {"value": "next"}]


async def test_one_failure_among_many_calls_fails_one(faulty: FaultyServer, server: Server) -> None:
    calls = [{"value": f"v{n}"} for n in range(199)] + [{"how": "close"}]
    random.shuffle(calls)
    found = await asyncio.gather(
        *(server.call(ToolRequest("act", each, {}), 20) for each in calls), return_exceptions=True
    )
    lost = [each for each in found if isinstance(each, BaseException)]
    assert len(lost) == 1
    assert isinstance(lost[0], LostError)
    assert len(faulty.calls) == 200


async def test_a_cancel_reaches_the_server(faulty: FaultyServer, server: Server) -> None:
    task = asyncio.create_task(server.call(ToolRequest("act", {"how": "wait"}, {}), 30))
    await faulty.called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        await faulty.left.wait()


async def test_a_server_that_is_away_was_not_called() -> None:
    own = _server(McpServerResource(name="away", url="http://127.0.0.1:9/"))
    with pytest.raises(NotSentError, match="cannot be reached"):
        await own.call(ToolRequest("act", {}, {}), 30)
    await own.close()


async def test_a_server_that_lists_nothing_was_not_called(
    faulty: FaultyServer, server: Server
) -> None:
    faulty.lists_nothing = True
    with pytest.raises(NotSentError, match="did not answer in time"):
        await server.call(ToolRequest("act", {}, {}), 2)
    assert faulty.calls == []


@pytest.mark.parametrize(
    ("page_bytes", "pages", "problem"),
    [(0, 100, "does not end"), (3_000_000, 3, "is too large")],
)
async def test_a_list_without_an_end_is_not_read_to_it(
    faulty: FaultyServer, server: Server, page_bytes: int, pages: int, problem: str
) -> None:
    faulty.page_bytes = page_bytes
    with pytest.raises(AnsweredError, match=f"list of tools {problem}"):
        await server.list_tools(20)
    assert faulty.pages == pages


async def test_a_command_that_does_not_exist_was_not_called() -> None:
    own = _server(McpServerResource(name="missing", command="no-such-command"))
    with pytest.raises(NotSentError, match="not installed"):
        await own.call(ToolRequest("act", {}, {}), 30)
    await own.close()


async def test_calls_beyond_the_bound_wait(faulty: FaultyServer) -> None:
    own = _server(faulty.resource(max_concurrency=1))
    first = asyncio.create_task(own.call(ToolRequest("act", {"how": "wait"}, {}), 30))
    await faulty.called.wait()
    with pytest.raises(NotSentError, match="as many calls"):
        await own.call(ToolRequest("act", {"value": "second"}, {}), 0.2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(faulty.calls) == 1
    await own.close()


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_connections_close_in_any_order(
    faulty: FaultyServer, tmp_path: Path, transport: str
) -> None:
    before = asyncio.all_tasks()
    command = (str(PROGRAM), str(tmp_path / "effects"), "stdio")
    resource = (
        faulty.resource()
        if transport == "http"
        else McpServerResource(name="fx", command=sys.executable, args=command)
    )
    rng = random.Random(7)

    async def use(own: Server) -> None:
        task = asyncio.create_task(own.call(ToolRequest("act", {"how": "wait"}, {}), 30))
        await asyncio.sleep(rng.uniform(0, 1))
        if rng.random() < 0.5:
            task.cancel()
        await own.close()
        with pytest.raises((asyncio.CancelledError, LostError, NotSentError)):
            await task

    count = 50 if transport == "http" else 8
    await asyncio.gather(*(use(_server(resource)) for _ in range(count)))
    async with asyncio.timeout(60):
        while left := {each for each in asyncio.all_tasks() - before if "mcp" in each.get_name()}:
            await asyncio.wait(left)
    assert _processes(tmp_path) == []


def _processes(tmp_path: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(tmp_path) in part for part in process.info["cmdline"] or ())
    ]


async def test_servers_end_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    # A server that does not end with its input, and has a child of its own.
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(
        "import os, runpy, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        f"subprocess.Popen([*child, {str(tmp_path)!r}])\n"
        f"sys.argv = [{str(PROGRAM)!r}, {str(effects)!r}, 'stdio']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "time.sleep(600)\n"
    )
    worker = tmp_path / "worker.py"
    worker.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            from prometheus_client import CollectorRegistry
            from ai_worker.mcp.metrics import McpMetrics
            from ai_worker.mcp.server import Server
            from ai_worker.mcp.tool_session import ToolRequest
            from ai_worker.mcp_resources import McpServerResource

            async def main():
                resource = McpServerResource(
                    name="fx", command=sys.executable, args=({str(stubborn)!r},)
                )
                server = Server(resource, McpMetrics(CollectorRegistry()))
                await server.call(ToolRequest("act", {{}}, {{}}), 20)
                print("called", flush=True)
                await asyncio.sleep(600)

            asyncio.run(main())
            """
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(worker), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"called\n"
    assert len(_processes(tmp_path)) == 4  # worker, guard, server and its child
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await eventually(lambda: not _processes(tmp_path), what="the group's end")


async def test_a_server_has_the_environment_that_it_is_given(tmp_path: Path) -> None:
    command = (str(PROGRAM), str(tmp_path / "effects"), "stdio")
    os.environ["STIGMA_TEST_SECRET"] = "of-the-worker"
    try:
        resource = McpServerResource(
            name="fx", command=sys.executable, args=command, env={"GIVEN": SecretStr("value")}
        )
        own = _server(resource)
        result = await own.call(ToolRequest("act", {"how": "environment"}, {}), 20)
        await own.close()
    finally:
        del os.environ["STIGMA_TEST_SECRET"]
    found = json.loads(result["content"][0]["text"])
    # Python itself adds the other one where there is no locale.
    assert {key for key in found if key != "LC_CTYPE"} == {"GIVEN"}
    assert found["GIVEN"] == "value"


async def test_a_line_without_an_end_ends_the_server(tmp_path: Path) -> None:
    program = tmp_path / "endless.py"
    program.write_text(
        "import json, sys\n"
        f"answers = {_ANSWERS!r}\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    if 'id' not in asked:\n"
        "        continue\n"
        "    size = asked['params'].get('arguments', {}).get('size', 0)\n"
        "    while size < 0:\n"
        "        sys.stdout.write('x' * 100_000)\n"
        "    text = {'type': 'text', 'text': 'x' * size}\n"
        "    result = answers.get(asked['method'], {'resultType': 'complete', 'content': [text]})\n"
        "    answer = {'jsonrpc': '2.0', 'id': asked['id'], 'result': result}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    command = (str(program),)
    limit = timedelta(seconds=20)
    own = _server(McpServerResource(name="fx", command=sys.executable, args=command, timeout=limit))
    large = await own.call(ToolRequest("act", {"size": 5_000_000}, {}), 20)
    assert len(large["content"][0]["text"]) == 5_000_000
    running = _processes(tmp_path)
    assert len(running) == 2  # its guard, and itself
    too_long = pytest.raises(LostError, match="a line of more than 8 MiB; it was ended")
    with memory_growth() as growth, too_long:
        await own.call(ToolRequest("act", {"size": -1}, {}), 20)
    assert growth() < 40_000_000
    await eventually(lambda: not any(map(_lives, running)), what="its end")
    assert (await own.call(ToolRequest("act", {"size": 3}, {}), 20))["content"][0]["text"] == "xxx"
    await own.close()
    assert _processes(tmp_path) == []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has gone between the two
        return False


async def test_what_a_server_prints_beside_messages_is_passed_over(tmp_path: Path) -> None:
    noisy = tmp_path / "noisy.py"
    noisy.write_text(
        "import runpy, sys\n"
        "print('ready', flush=True)\n"
        "sys.stdout.buffer.write(b'\\xff\\xfe\\n')\n"
        f"sys.argv = [{str(PROGRAM)!r}, {str(tmp_path / 'effects')!r}, 'stdio']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    own = _server(McpServerResource(name="fx", command=sys.executable, args=(str(noisy),)))
    assert (await own.call(ToolRequest("act", {"value": "ü"}, {}), 20))["content"][0]["text"] == "ü"
    await own.close()


async def test_headers_are_sent(faulty: FaultyServer) -> None:
    own = _server(faulty.resource(headers={"Authorization": SecretStr("Bearer key")}))
    await own.call(ToolRequest("act", {}, {}), 30)
    await own.close()
    assert faulty.headers[0]["authorization"] == "Bearer key"


async def test_what_a_server_says_is_not_in_traces_and_logs(
    faulty: FaultyServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("mcp.shared._otel._tracer", provider.get_tracer("mcp"))
    own = _server(faulty.resource())
    with pytest.raises(AnsweredError):
        await own.call(ToolRequest("act", {"how": "error"}, {}), 30)
    assert exporter.get_finished_spans()  # so it is without what follows
    await own.close()
    exporter.clear()

    servers = Servers([faulty.resource()], McpMetrics(CollectorRegistry()))
    found = servers.find("faulty")
    assert found is not None
    with pytest.raises(AnsweredError):
        await found.call(ToolRequest("act", {"how": "error"}, {}), 30)
    with pytest.raises(LostError):
        await found.call(ToolRequest("act", {"how": "bad event"}, {}), 30)
    await servers.close()
    assert exporter.get_finished_spans() == ()
    assert "no such tool" not in caplog.text
    assert "secret" not in caplog.text


async def test_servers_are_found_by_name(faulty: FaultyServer) -> None:
    servers = Servers([faulty.resource()], McpMetrics(CollectorRegistry()))
    assert servers.names == ["faulty"]
    assert servers.find("other") is None
    await servers.close()


@pytest.mark.parametrize(
    ("result", "outcome", "content"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "OK", "a\nb"),
        ({"content": [], "structuredContent": {"b": 1, "a": "ü"}}, "OK", '{"b":1,"a":"ü"}'),
        (
            {"content": [{"type": "text", "text": "a"}], "structuredContent": {"b": 1}},
            "OK",
            "a",
        ),
        ({"content": [{"type": "text", "text": "no"}], "isError": True}, "ERROR", "no"),
        ({"content": [], "isError": True}, "ERROR", "The tool failed, and does not say why."),
        (
            {"content": [{"type": "audio", "data": "eHh4", "mimeType": "audio/wav"}]},
            "OK",
            "[audio/wav, 3 bytes, not shown]",
        ),
        (
            {
                "content": [
                    {"type": "resource_link", "uri": "file:///a", "name": "a"},
                    {"type": "resource", "resource": {"uri": "b", "text": "ü" * 1024}},
                    {"type": "hologram"},
                ]
            },
            "OK",
            "[link to file:///a, not shown]\n[unknown, 2 KB, not shown]\n[hologram, not shown]",
        ),
        ({}, "OK", ""),
        ({"content": 3}, "ERROR", "The MCP server's answer is not a result of a tool."),
    ],
)
def test_results_are_told_as_text(result: dict[str, Any], outcome: str, content: str) -> None:
    expected = {"OK": TOOL_OUTCOME_OK, "ERROR": TOOL_OUTCOME_ERROR}[outcome]
    response = read_result(result, 1000)
    assert (response.outcome, response.content) == (expected, content)


async def test_a_proxy_of_the_environment_is_used(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for providers: a plain HTTP proxy is asked for the server's whole address."""
    proxy = faulty.resource().url
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    own = _server(McpServerResource(name="inside", url="http://tickets.example/mcp"))
    await own.call(ToolRequest("act", {"value": "a"}, {}), 30)
    await own.close()
    assert faulty.headers[0]["host"] == "tickets.example"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    own = _server(McpServerResource(name="inside", url="http://tickets.example/mcp"))
    with pytest.raises(NotSentError, match="cannot be reached"):
        await own.call(ToolRequest("act", {}, {}), 30)
    await own.close()
