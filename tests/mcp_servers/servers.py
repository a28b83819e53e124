"""Servers that others wrote, over both transports: server-everything and mcp-server-time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import psutil
from typing_extensions import override

from ai_worker.mcp.server import Server
from ai_worker.mcp_resources import McpServerResource
from stigma_cli.devserver import free_ports
from tests.mcp_servers.programs import Programs
from tests.stack.waiting import eventually

EVERYTHING, TIME = "everything", "time"

_TOOLS = ("echo", "get-*", "gzip-*", "simulate-research-query", "trigger-*elicitation*")
_TIME_OVER_HTTP = Path(__file__).with_name("time_over_http.py")


class Servers(ABC):
    """The two servers."""

    variables: ClassVar[frozenset[str]]
    """Names of the variables of their environment."""

    @abstractmethod
    def resources(self) -> list[McpServerResource]:
        """Return the operator's resources."""

    @abstractmethod
    def hold_time(self) -> None:
        """Have the time server answer no call from now on."""

    @abstractmethod
    async def wait_for_held(self, server: Server) -> None:
        """Wait until a call is there that the time server does not answer."""

    @abstractmethod
    async def kill(self, name: str) -> None:
        """Kill a server; there is a new one afterwards, or when it is needed."""


@dataclass
class StdioServers(Servers):
    """Processes of the AI worker, which is in this process."""

    variables = frozenset()
    programs: Programs

    @override
    def resources(self) -> list[McpServerResource]:
        time = shutil.which("mcp-server-time", path=str(Path(sys.executable).parent))
        assert time is not None
        everything = (str(self.programs.everything), "stdio")
        return [
            McpServerResource(
                name=EVERYTHING, command=str(self.programs.node), args=everything, tools=_TOOLS
            ),
            McpServerResource(name=TIME, command=time, args=("--local-timezone", "UTC")),
        ]

    @override
    def hold_time(self) -> None:
        self._process(TIME).send_signal(signal.SIGSTOP)

    @override
    async def wait_for_held(self, server: Server) -> None:
        await eventually(lambda: server.requests, what="the call")

    @override
    async def kill(self, name: str) -> None:
        self._process(name).kill()

    def _process(self, name: str) -> psutil.Process:
        """Return the server itself: its guard has the same arguments, behind others."""
        program = str(self.programs.everything) if name == EVERYTHING else "mcp-server-time"
        [found] = [each for each in _children() if any(program in part for part in each[1][:2])]
        return found[0]


@dataclass
class HttpServers(Servers):
    """Processes beside the AI worker."""

    variables = frozenset({"PORT"})
    programs: Programs
    directory: Path
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @override
    def resources(self) -> list[McpServerResource]:
        return [
            McpServerResource(
                name=name,
                url=f"http://127.0.0.1:{port}/mcp",
                tools=_TOOLS if name == EVERYTHING else (),
            )
            for name, port in self.ports.items()
        ]

    @override
    def hold_time(self) -> None:
        self._hold.touch()

    @override
    async def wait_for_held(self, server: Server) -> None:
        await eventually(self._hold.with_suffix(".held").exists, what="the call")
        self._hold.unlink()

    @override
    async def kill(self, name: str) -> None:
        self.processes[name].kill()
        await self.processes[name].wait()
        await self.start(name)

    async def start(self, name: str) -> None:
        """Start a server; it is there when the client connects, or a little later."""
        if name not in self.ports:
            [self.ports[name]] = free_ports(1)
        port = self.ports[name]
        commands = {
            EVERYTHING: (self.programs.node, self.programs.everything, "streamableHttp"),
            TIME: (sys.executable, _TIME_OVER_HTTP, str(port), self._hold),
        }
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *commands[name], env={"PORT": str(port)}, stdout=log, stderr=log
            )

    async def stop(self) -> None:
        """End the processes."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def _hold(self) -> Path:
        return self.directory / "hold"


@asynccontextmanager
async def servers_over(transport: str, programs: Programs, path: Path) -> AsyncIterator[Servers]:
    """Yield the servers over a transport, "stdio" or "http"; no process is left of them."""
    if transport == "stdio":
        yield StdioServers(programs)
        await eventually(lambda: not _started_by_the_worker(), what="their end")
        return
    servers = HttpServers(programs, path)
    try:
        for name in (EVERYTHING, TIME):
            await servers.start(name)
        yield servers
    finally:
        await servers.stop()


def _started_by_the_worker() -> list[str]:
    """Return the command lines of living processes of stdio servers, their guards' included."""
    lines = [" ".join(line) for _, line in _children()]
    return [line for line in lines if "server-everything" in line or "mcp-server-time" in line]


def _children() -> list[tuple[psutil.Process, list[str]]]:
    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found.append((process, process.cmdline()))
    return found
