"""The configured MCP servers by name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from mcp.shared import _otel
from opentelemetry.trace import NoOpTracer

from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp.server import Server
from ai_worker.mcp_resources import McpServerResource


class Servers:
    """Finds servers by name; closes them all at the end."""

    def __init__(self, resources: Iterable[McpServerResource], metrics: McpMetrics) -> None:
        # The client logs what it cannot read, and makes spans of errors: both with what a server
        # has sent. Without its spans, servers get the context of the activity's.
        logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)
        _otel._tracer = NoOpTracer()
        self._servers = {each.name: Server(each, metrics) for each in resources}

    @property
    def names(self) -> list[str]:
        """The servers' names, sorted."""
        return sorted(self._servers)

    def find(self, name: str) -> Server | None:
        """Return the server of a name; None for an unknown one."""
        return self._servers.get(name)

    async def close(self) -> None:
        """Close every connection; the processes of servers have ended then."""
        await asyncio.gather(*(each.close() for each in self._servers.values()))
