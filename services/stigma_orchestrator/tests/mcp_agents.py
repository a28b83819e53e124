"""Agents with tools of MCP servers: real servers, started by the worker or beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from temporalio.worker import Worker

from ai_worker.mcp.activity import CALL_META, KEY_META
from ai_worker.mcp.listing import list_entries
from ai_worker.mcp.servers import Servers
from ai_worker.mcp_resources import McpServerResource
from services.stigma_orchestrator.tests.tool_agents import Ended, ToolAgents, new_policy
from stigma.agent.v1.agent_pb2 import McpTool, McpToolDefinition, ScriptStep, Tool
from stigma.internal.v1.execution_pb2 import ListMcpToolsRequest
from stigma_cli.devserver import free_ports
from tests.stack.forked import ForkedProcess, Streams, start_module

_ROOT = Path(__file__).parents[3]
_PROGRAMS = Path(__file__).parents[2] / "ai_worker" / "tests"
PROGRAM, ASKING = _PROGRAMS / "mcp_server.py", _PROGRAMS / "asking_server.py"


@dataclass
class McpServer:
    """One server of a test: its transport, its process if it has one beside the worker's."""

    effects: Path
    http: bool
    options: list[str]
    port: int = 0
    process: ForkedProcess | subprocess.Popen[bytes] | None = None
    program: Path = PROGRAM

    def resource(self, name: str = "fx", **fields: Any) -> McpServerResource:
        """Return the operator's resource."""
        if self.http:
            url = f"http://127.0.0.1:{self.port}/mcp"
            return McpServerResource(name=name, url=url, **fields)
        arguments = (str(self.program), str(self.effects), "stdio", *self.options)
        return McpServerResource(name=name, command=sys.executable, args=arguments, **fields)

    def next_time(self, *options: str) -> None:
        """Set options for when it is started the next time."""
        self.effects.with_suffix(".options").write_text(" ".join(options))

    async def start(self) -> None:
        """Start the process of a server that is reached by HTTP."""
        if not self.http:
            return
        if not self.port:
            [self.port] = free_ports(1)
        self.process = self._started()

    def _started(self) -> ForkedProcess | subprocess.Popen[bytes]:
        module = ".".join(self.program.relative_to(_ROOT).with_suffix("").parts)
        arguments = [str(self.effects), "http", str(self.port), *self.options]
        unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        environment = {**unmeasured, "PYTHONPATH": str(_ROOT)}
        with Path(os.devnull).open() as nothing:
            streams = Streams(nothing.fileno(), stdout=1, stderr=2)
            return start_module(module, arguments, environment, streams)

    async def kill(self) -> None:
        """Kill its process, whoever started it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            await self.ended()
        for process in self.started_by_the_worker():
            process.kill()

    async def ended(self) -> None:
        """Wait for the end of its process."""
        if self.process is not None:
            await asyncio.to_thread(self.process.wait)

    async def restart(self, *options: str) -> None:
        """Kill it, and start it with further options; the worker starts a stdio server itself."""
        self.next_time(*options)
        await self.kill()
        await self.start()

    def started_by_the_worker(self) -> list[psutil.Process]:
        """Return the living processes of a stdio server, its guard's included."""
        found = []
        for process in psutil.Process(os.getpid()).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if str(self.effects) in line and "stdio" in line:
                    found.append(process)
        return found

    @property
    def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        """The calls that had an effect: tool, argument, and what came beside the arguments."""
        return [each for each in self._notes if each[0] != "cancelled"]

    @property
    def cancelled(self) -> list[str]:
        """The arguments of calls whose cancel the server has seen."""
        return [value for kind, value, _ in self._notes if kind == "cancelled"]

    def cancelled_of(self, execution_id: str) -> list[str]:
        """The cancelled calls of one execution."""
        return [
            value
            for kind, value, meta in self._notes
            if kind == "cancelled" and meta[KEY_META].startswith(execution_id)
        ]

    @property
    def _notes(self) -> list[tuple[str, str, dict[str, Any]]]:
        if not self.effects.exists():
            return []
        return [tuple(json.loads(line)) for line in self.effects.read_text().splitlines()]

    @property
    def keys(self) -> list[str]:
        """The idempotency keys of the calls."""
        return [meta[KEY_META] for _, _, meta in self.calls]

    @property
    def headers(self) -> list[dict[str, Any]]:
        """Whose the calls are."""
        return [meta[CALL_META] for _, _, meta in self.calls]


@dataclass
class McpAgents:
    """Executions of agents whose tools are those of MCP servers."""

    agents: ToolAgents
    servers: Servers
    new_ai_worker: Callable[[], Worker]

    async def list(self, *entries: McpTool) -> list[McpToolDefinition]:
        """List the tools as the API has them listed when an agent is applied."""
        request = ListMcpToolsRequest(entries=entries or [McpTool(server="fx")])
        request.timeout.FromTimedelta(timedelta(seconds=30))
        found = [self.servers.find(each.server) for each in request.entries]
        response = await list_entries(found, request)
        assert not response.problems
        return list(response.tools)

    async def start(self, *steps: ScriptStep, **fields: Any) -> Any:
        """Start an agent; `entries` and `definitions` are what it was applied with."""
        entries: Sequence[McpTool] = fields.pop("entries", [McpTool(server="fx")])
        definitions = fields.pop("definitions", None)
        if definitions is None:
            definitions = await self.list(*entries)
        policy = new_policy(**fields.pop("policy", {}))
        tools = [Tool(mcp=each, policy=policy) for each in entries]
        options = {name: fields.pop(name) for name in ("approval",) if name in fields}
        agent = self.agents.agent(steps, *tools, **options)
        return await self.agents.start(agent, mcp_tools=definitions, **fields)

    async def run(self, *steps: ScriptStep, **fields: Any) -> Ended:
        """Run an agent to its end."""
        return await self.agents.ended(await self.start(*steps, **fields))
