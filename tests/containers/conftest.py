"""Fixtures of the containers' tests; each is skipped where there is no Docker.

Imports of what takes long are in the fixtures.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.stack.plugin import StartStack, running_stacks

if TYPE_CHECKING:
    import docker

    from tests.containers.foundation import Foundation
    from tests.containers.stack import ContainerStack
    from tests.reliability.fault_site import Deployment, FaultSite

# Its reaper is one more image to pull. Read when testcontainers is imported.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

_POSTGRES_IMAGE = Path(__file__).parents[2] / "tools/postgres-image"
_POSTGRES_IMAGE_SECONDS = 900
# Of the engine's calls. Longer than of processes: nobody is to ask again because Docker was late.
_ENGINE_HEARTBEAT_SECONDS = 10.0


@pytest.fixture(scope="package")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine; whatever this run has put there is gone at the end."""
    from tests.containers.engine import find_engine, sweep
    from tests.images.images import HOW_TO_GET

    client = find_engine()
    if client is None:
        pytest.skip(HOW_TO_GET)
    try:
        yield client
    finally:
        left = sweep(client)
        client.close()
    assert left == [], "every test removes what it started"


@pytest.fixture(scope="package")
async def foundation(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Foundation]:
    """Temporal and PostgreSQL on a network of their own."""
    from tests.containers.engine import is_here, service_image, temporal_image
    from tests.containers.foundation import Images, open_foundation
    from tests.images.images import HOW_TO_BUILD
    from tests.stack.stack import SERVICES

    temporal = temporal_image(engine)
    if temporal is None:
        pytest.skip(HOW_TO_BUILD.format("stigma/temporal-dev"))
    for image in map(service_image, SERVICES):
        if not is_here(engine, image):
            pytest.skip(HOW_TO_BUILD.format(image))
    images = Images(temporal, _postgres_image())
    async with open_foundation(engine, images, tmp_path_factory.mktemp("foundation")) as foundation:
        yield foundation


@pytest.fixture(scope="package")
async def new_container_stack(
    request: pytest.FixtureRequest,
    foundation: Foundation,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[StartStack]:
    """Start a stack with options of `ContainerStack`; who starts it closes it."""
    from tests.containers.stack import ContainerStack

    running = running_stacks(request.config)

    async def start(temporal_address: str | None = None, **options: Any) -> ContainerStack:
        stack = ContainerStack(foundation, tmp_path_factory.mktemp("stack"), **options)
        running.append(stack)
        open_stacks.callback(running.remove, stack)
        return await open_stacks.enter_async_context(stack)

    async with AsyncExitStack() as open_stacks:
        yield start


@pytest.fixture(scope="package")
async def running_deployment(new_container_stack: StartStack) -> Deployment[ContainerStack]:
    """One of each service and a caller's worker."""
    from tests.reliability.fault_site import CALLER, Deployment, engine_heartbeat
    from tests.stack.stack import SERVICES

    stack = await new_container_stack(
        services=(*SERVICES, CALLER),
        environment={"zigflow_worker": engine_heartbeat(_ENGINE_HEARTBEAT_SECONDS)},
    )
    return Deployment(cast("ContainerStack", stack))


@pytest.fixture
async def deployment(
    running_deployment: Deployment[ContainerStack],
) -> AsyncIterator[Deployment[ContainerStack]]:
    """Whatever a test does to it, each call leads to one execution."""
    yield running_deployment
    await running_deployment.stack.heal()
    await running_deployment.check_executions()


@pytest.fixture(scope="package")
async def running_site(
    new_container_stack: StartStack, foundation: Foundation
) -> AsyncIterator[FaultSite]:
    """A second one, with proxies that do fault where services meet."""
    from tests.reliability.fault_site import engine_heartbeat, open_site

    async with open_site(
        new_container_stack,
        foundation.temporal.address,
        proxies_ip=foundation.gateway,
        environment={"zigflow_worker": engine_heartbeat(_ENGINE_HEARTBEAT_SECONDS)},
    ) as site:
        yield site


@pytest.fixture
async def site(running_site: FaultSite) -> AsyncIterator[FaultSite]:
    """As `deployment`."""
    yield running_site
    running_site.heal()
    await running_site.check_executions()


def _postgres_image() -> str:
    made = subprocess.run(
        [str(_POSTGRES_IMAGE)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=_POSTGRES_IMAGE_SECONDS,
        check=True,
    )
    return made.stdout.strip()
