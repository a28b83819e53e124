"""What services in containers stand on: a network, Temporal and PostgreSQL, as containers too."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import docker
from temporalio.client import Client
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from stigma_cli.devserver import free_ports
from tests.containers.container import Container, confine
from tests.containers.engine import create_network, gateway_of, service_image
from tests.stack.waiting import eventually

NAMESPACE = "default"
TEMPORAL = "temporal"
TEMPORAL_PORT = 7233
POSTGRES = "postgres"
POSTGRES_PORT = 5432
POSTGRES_USER = "stigma"
_DATA = "/data"
_PATIENCE = timedelta(seconds=90)


@dataclass(frozen=True)
class Images:
    """Which images to run, besides our services' own."""

    temporal: str
    postgres: str


class Temporal:
    """The dev server; its database outlives it."""

    def __init__(self, container: Container, port: int) -> None:
        self.container = container
        self.address = f"127.0.0.1:{port}"

    async def start(self) -> None:
        """Start it, again if it was killed, and return once it answers."""
        await self.container.start()
        await self.answers()

    async def answers(self) -> None:
        """Return once it serves its namespace."""
        await eventually(self._serves, within=_PATIENCE, what="Temporal answers")

    async def _serves(self) -> bool:
        try:
            client = await Client.connect(self.address, namespace=NAMESPACE)
            await client.count_workflows("WorkflowType = 'none'")
        except RuntimeError:  # RPCError is one
            return False
        return True


class Postgres:
    """The database of the agents' registry; only services can reach it."""

    def __init__(self, container: Container, password: str) -> None:
        self.container = container
        self._password = password

    @property
    def url(self) -> str:
        """SQLAlchemy's, as services reach it."""
        address = f"{POSTGRES}:{POSTGRES_PORT}"
        return f"postgresql+asyncpg://{POSTGRES_USER}:{self._password}@{address}/{POSTGRES_USER}"

    async def start(self) -> None:
        """Start it and return once it answers."""
        await self.container.start()
        await self.answers()

    async def answers(self) -> None:
        """Return once it takes connections."""
        await eventually(self._serves, within=_PATIENCE, what="PostgreSQL answers")

    async def _serves(self) -> bool:
        # Over TCP: while its database is made, it listens on nothing but its socket.
        return await self.container.run("pg_isready", "--quiet", "--host", "127.0.0.1")


@dataclass(frozen=True)
class Foundation:
    """What every stack of a test run shares."""

    network: Network
    gateway: str
    """This machine's address, for containers."""
    temporal: Temporal
    postgres: Postgres


@asynccontextmanager
async def open_foundation(
    client: docker.DockerClient, images: Images, directory: Path
) -> AsyncIterator[Foundation]:
    """Start everything, with Temporal set up as `stigma setup` does it."""
    async with AsyncExitStack() as opened:
        network = await asyncio.to_thread(create_network)
        opened.push_async_callback(asyncio.to_thread, network.remove)
        temporal = _define_temporal(client, images.temporal, network, directory)
        opened.push_async_callback(temporal.container.remove)
        postgres = _define_postgres(images.postgres, network, directory)
        opened.push_async_callback(postgres.container.remove)
        await asyncio.gather(temporal.start(), postgres.start())
        await _set_up(network, directory)
        yield Foundation(network, gateway_of(client, network), temporal, postgres)


def _define_temporal(
    client: docker.DockerClient, image: str, network: Network, directory: Path
) -> Temporal:
    """As the image starts it, but with a database that is kept."""
    data = directory / "temporal"
    data.mkdir()
    data.chmod(0o777)
    [port] = free_ports(1)
    command = [*client.images.get(image).attrs["Config"]["Cmd"]]
    command += ["--db-filename", f"{_DATA}/temporal.db"]
    definition = DockerContainer(image).with_command(command)
    definition.with_volume_mapping(data, _DATA, "rw")
    confine(definition, network, [TEMPORAL], ports={TEMPORAL_PORT: port})
    log = directory / "temporal.log"
    return Temporal(Container(definition, network, [TEMPORAL], log), port)


def _define_postgres(image: str, network: Network, directory: Path) -> Postgres:
    password = secrets.token_hex()
    definition = DockerContainer(image).with_env("POSTGRES_USER", POSTGRES_USER)
    definition.with_env("POSTGRES_PASSWORD", password)
    writable = ("/tmp", "/run/postgresql")
    confine(definition, network, [POSTGRES], ports={}, user="postgres", writable=writable)
    log = directory / "postgres.log"
    return Postgres(Container(definition, network, [POSTGRES], log), password)


async def _set_up(network: Network, directory: Path) -> None:
    """Run the command that an operator runs, from the image that has it."""
    definition = confine(
        DockerContainer(service_image("stigma_api")),
        network,
        [],
        ports={},
        entrypoint=["stigma", "setup", "--raise-retention"],
    )
    definition.with_env("TEMPORAL_ADDRESS", f"{TEMPORAL}:{TEMPORAL_PORT}")
    log = directory / "setup.log"
    container = Container(definition, network, [], log)
    try:
        await container.start()
        if await container.ended(_PATIENCE) != 0:
            raise RuntimeError(f"stigma setup failed: {log.read_text()}")
    finally:
        await container.remove()
