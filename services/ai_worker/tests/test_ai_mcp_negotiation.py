"""A server of MCP that is away for a moment is not taken for one of an older version."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typing_extensions import override

from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.server import Server
from ai_worker.mcp.tool_session import ToolRequest
from services.ai_worker.tests.test_ai_mcp import FaultyServer

AWAY = {
    "cut": b"",
    "503": b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
}


class StartingServer(FaultyServer):
    """Does not answer the first request, and would take the next one of any version."""

    def __init__(self, first: bytes) -> None:
        super().__init__()
        self._first: bytes | None = first
        self.methods: list[str] = []

    @override
    async def _answer(
        self,
        message: dict[str, Any],
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        self.methods.append(message["method"])
        if self._first is None and message["method"] != "initialize":
            return await super()._answer(message, headers, reader, writer)
        first, self._first = self._first, None
        writer.write(first if first is not None else _initialized(message))
        return first != b""


def _initialized(message: dict[str, Any]) -> bytes:
    result = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "starting", "version": "1"},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


@pytest.mark.parametrize("how", list(AWAY))
async def test_a_server_that_is_starting_is_not_an_old_one(how: str) -> None:
    starting = StartingServer(AWAY[how])
    await starting.start()
    server = Server(starting.resource(), McpMetrics(CollectorRegistry()))
    await server.call(ToolRequest("act", {"value": "a"}, {}), 30)
    await server.close()
    await starting.stop()
    assert starting.calls == [{"value": "a"}]
    assert starting.methods == [*["server/discover"] * 2, "tools/list", "tools/call"]
