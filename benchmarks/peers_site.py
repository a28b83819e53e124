"""The peers of `benchmarks.peers`: their servers and processes, and how each is called."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx2
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest

from benchmarks.handshake_modes import PythonCaller
from benchmarks.handshake_native import BareActivity, ChildWorkflow
from benchmarks.handshake_site import Site, open_site
from benchmarks.peers_nexus import ENDPOINT, NexusCaller
from stigma_cli.child_process import ProcessGroup, bound_to_parent
from stigma_cli.devserver import find_binary, free_ports
from tests.stack.postgres import find_binaries, postgres
from tests.stack.waiting import eventually

HERE = Path(__file__).parent
HOST = "127.0.0.1"

_CALL_SECONDS = 120
_STOP_GRACE = timedelta(seconds=5)


@dataclass(frozen=True)
class Peer:
    """One way to have a remote worker's answer, by the name that the table shows."""

    name: str
    call: Callable[[str], Awaitable[str]]


@dataclass(frozen=True)
class Installed:
    """Software of other projects, in a folder that is no part of this one.

    It has a Python in `venv` with what `benchmarks/peers_*.py` import, and npm's `node_modules`.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter that has the peers' SDKs."""
        return self.folder / "venv/bin/python"

    @property
    def restate(self) -> Path:
        """Restate's server: the binary itself, not npm's script that starts it."""
        machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "")
        package = f"@restatedev/restate-server-{sys.platform}-{machine}"
        return self.folder / "node_modules" / package / "bin/restate-server"

    async def has(self, module: str) -> bool:
        """Return whether the interpreter can import a module."""
        if not self.python.exists():
            return False
        program = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
        found = await asyncio.create_subprocess_exec(self.python, "-P", "-c", program)
        return await found.wait() == 0


@asynccontextmanager
async def open_peers(directory: Path, installed: Installed | None) -> AsyncIterator[list[Peer]]:
    """Start every peer that can be had, and end them."""
    async with AsyncExitStack() as opened:
        site = await opened.enter_async_context(open_site(find_binary(), directory))
        await _open_nexus(site, directory, opened)
        peers = _on_temporal(site)
        if installed is not None and installed.restate.exists() and await installed.has("restate"):
            peers.append(await _open_restate(installed, directory, opened))
        if installed is not None and find_binaries() is not None and await installed.has("dbos"):
            peers.append(await _open_dbos(installed, directory, opened))
        yield peers


def _on_temporal(site: Site) -> list[Peer]:
    def peer(name: str, workflow: Callable[..., Awaitable[str]], queue: str) -> Peer:
        async def call(message: str) -> str:
            answer: str = await site.client.execute_workflow(
                workflow, message, id=message, task_queue=queue
            )
            return answer

        return Peer(name, call)

    queue = site.task_queue
    return [
        peer("Temporal, bare activity", BareActivity.run, queue),
        peer("Temporal, child workflow", ChildWorkflow.run, queue),
        peer("Stigma, Python caller", PythonCaller.run, queue),
        peer("Temporal, Nexus operation", NexusCaller.run, f"{queue}-nexus-caller"),
    ]


async def _open_nexus(site: Site, directory: Path, opened: AsyncExitStack) -> None:
    queues = {"caller": f"{site.task_queue}-nexus-caller", "worker": site.task_queue}
    target = EndpointTarget.Worker(namespace="default", task_queue=f"{site.task_queue}-nexus")
    spec = EndpointSpec(name=ENDPOINT, target=EndpointTarget(worker=target))
    await site.client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    for role, queue in queues.items():
        command = [sys.executable, "-m", "benchmarks.peers_nexus", role]
        command += [site.stack.temporal_address, queue]
        await opened.enter_async_context(_process(command, directory / f"nexus-{role}.log"))


async def _open_restate(installed: Installed, directory: Path, opened: AsyncExitStack) -> Peer:
    ingress, admin, node, *services = free_ports(5)
    settings = {
        "RESTATE_INGRESS__BIND_PORT": ingress,
        "RESTATE_ADMIN__BIND_PORT": admin,
        "RESTATE_BIND_PORT": node,
        "RESTATE_BIND_IP": HOST,
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_DISABLE_TELEMETRY": "true",
        # As PostgreSQL and Temporal's server here: nothing waits for the disk.
        "RESTATE_BIFROST__LOCAL__ROCKSDB_DISABLE_WAL_FSYNC": "true",
        "RESTATE_METADATA_SERVER__ROCKSDB_DISABLE_WAL_FSYNC": "true",
    }
    environment = {name: str(value) for name, value in settings.items()}
    command = [str(installed.restate), "--no-logo", "--node-name", "peer"]
    command += ["--base-dir", str(directory / "restate")]
    log = directory / "restate.log"
    await opened.enter_async_context(_process(command, log, environment))
    http = await opened.enter_async_context(httpx2.AsyncClient(timeout=_CALL_SECONDS))
    for role, port in zip(("caller", "worker"), services, strict=True):
        command = [str(installed.python), "-P", str(HERE / "peers_restate.py"), role, str(port)]
        await opened.enter_async_context(_process(command, directory / f"restate-{role}.log"))
        url, service = f"http://{HOST}:{admin}/deployments", {"uri": f"http://{HOST}:{port}"}
        await eventually(lambda u=url, s=service: _accepts(http, u, s), what=f"see {directory}")  # type: ignore[misc]

    async def call(message: str) -> str:
        response = await http.post(f"http://{HOST}:{ingress}/caller/ask", json=message)
        answer: str = response.raise_for_status().json()
        return answer

    return Peer("Restate, awakeable", call)


async def _open_dbos(installed: Installed, directory: Path, opened: AsyncExitStack) -> Peer:
    binaries = find_binaries()
    assert binaries is not None
    url = (await opened.enter_async_context(postgres(binaries))).replace("+asyncpg", "")
    http = await opened.enter_async_context(httpx2.AsyncClient(timeout=_CALL_SECONDS))
    ports = dict(zip(("worker", "caller"), free_ports(2), strict=True))
    for role, port in ports.items():  # one after the other: the first one makes the tables
        command = [str(installed.python), "-P", str(HERE / "peers_dbos.py"), role, str(port)]
        command += [str(ports["worker"]), url]
        await opened.enter_async_context(_process(command, directory / f"dbos-{role}.log"))
        probe = f"http://{HOST}:{port}/ready"
        await eventually(lambda u=probe: _accepts(http, u, {}), what=f"see {directory}")  # type: ignore[misc]

    async def call(message: str) -> str:
        response = await http.post(
            f"http://{HOST}:{ports['caller']}/ask", json={"message": message}
        )
        return response.raise_for_status().text

    return Peer("DBOS, send and recv", call)


async def _accepts(http: httpx2.AsyncClient, url: str, request: Mapping[str, str]) -> bool:
    try:
        return (await http.post(url, json=request)).is_success
    except httpx2.TransportError:
        return False


@asynccontextmanager
async def _process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *bound_to_parent(command),
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield
    finally:
        await ProcessGroup(process).stop(_STOP_GRACE)
