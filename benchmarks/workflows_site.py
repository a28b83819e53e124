"""Place where `benchmarks.workflows` runs: a server, the engine, a worker by hand."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client

from benchmarks.processes import CpuMeter, running
from benchmarks.workflows_cases import Case
from stigma.contracts import engine
from stigma_cli.devserver import DevServer, find_binary
from tests.stack.stack import Stack

ENGINE, NATIVE = "document", "by hand"
WAYS = (ENGINE, NATIVE)
_TIMEOUT = timedelta(minutes=2)


@dataclass(frozen=True)
class Site:
    """Where a round runs."""

    client: Client
    stack: Stack
    native_queue: str
    url: str
    cpu: CpuMeter

    async def run(self, case: Case, way: str) -> tuple[float, str]:
        """Run a case once; return its milliseconds and its workflow id."""
        workflow_id = f"{case.name}-{uuid.uuid4()}"
        argument: Any = case.data
        if way == ENGINE:
            kind, queue = case.name, self.stack.queues.engine
            argument = engine.start_argument(case.document, json.dumps(case.data))
        else:
            kind, queue = case.native.__name__, self.native_queue
        began = time.perf_counter()
        await self.client.execute_workflow(
            kind, argument, id=workflow_id, task_queue=queue, execution_timeout=_TIMEOUT
        )
        return 1_000 * (time.perf_counter() - began), workflow_id

    async def events(self, workflow_id: str) -> int:
        """Return the length of a history."""
        described = await self.client.get_workflow_handle(workflow_id).describe()
        return described.history_length


@asynccontextmanager
async def open_site(directory: Path) -> AsyncIterator[Site]:
    """Start everything, and end it."""
    async with AsyncExitStack() as opened:
        server = DevServer(find_binary(), log=directory / "temporal.log")
        await opened.enter_async_context(server)
        url = await opened.enter_async_context(_json_server())
        settings = {"STIGMA_LOG_LEVEL": "INFO", "STIGMA_OUTGOING_ALLOW": "127.0.0.0/8"}
        stack = Stack(
            server.address, directory, services=["zigflow_worker"], environment={"*": settings}
        )
        await opened.enter_async_context(stack)
        queue = f"{stack.prefix}by-hand"
        worker = await opened.enter_async_context(_worker(server.address, queue, directory))
        groups = {ENGINE: [stack.process("zigflow_worker").pid], NATIVE: [worker.pid]}
        client = await Client.connect(server.address)
        yield Site(client, stack, queue, url, CpuMeter(groups))


def _worker(
    address: str, queue: str, directory: Path
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "benchmarks.workflows_native", address, queue]
    return running(command, directory / "worker.log")


@asynccontextmanager
async def _json_server() -> AsyncIterator[str]:
    """Serve one small JSON document; give its URL."""
    answer = b'{"id": 1, "name": "Milou", "status": "available"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(head % len(answer) + answer)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/pet"
    finally:
        server.close()
