"""Servers of the `mcp` package made to speak protocol version 2025-11-25 only."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import mcp_types


def refuse_discovery() -> None:
    """Answer the newer protocol's first request as a server that does not know it does."""
    given, taken = os.dup(0), os.pipe()
    os.dup2(taken[0], 0)

    def forward() -> None:
        with (
            os.fdopen(given, "rb") as lines,
            os.fdopen(taken[1], "wb", buffering=0) as server_input,
        ):
            for line in lines:
                message = json.loads(line)
                if message.get("method") != "server/discover":
                    server_input.write(line)
                    continue
                error = {"code": mcp_types.METHOD_NOT_FOUND, "message": "Method not found"}
                answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
                os.write(1, json.dumps(answer).encode() + b"\n")

    threading.Thread(target=forward, daemon=True).start()


class OldOnly:
    """Refuses requests of the newer protocol, as a server that does not know it does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version") == b"2026-07-28":
            start = {"type": "http.response.start", "status": 400, "headers": []}
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)
