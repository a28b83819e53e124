"""The Docker engine: whether there is one, and what this test run leaves on it."""

from __future__ import annotations

from importlib.metadata import version

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID
from testcontainers.core.network import Network

from tests.images.images import engine_answers


def find_engine() -> docker.DockerClient | None:
    """Return a client of the engine that runs; None when none answers."""
    # The client must not find that out: it would leave a connection open.
    return docker.from_env() if engine_answers() else None


def service_image(service: str, tag: str = "") -> str:
    """The image of one of our services, by its module's name."""
    return f"stigma/{service.replace('_', '-')}:{tag or version('stigma-core')}"


def temporal_image(client: docker.DockerClient) -> str | None:
    """The dev server's newest image; its tag is the version of Temporal's CLI."""
    images = client.images.list("stigma/temporal-dev", filters={"dangling": False})
    return images[0].tags[0] if images else None


def is_here(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def create_network() -> Network:
    """A network of this run's own, from which no packet finds its way out.

    Docker's `internal` networks would do that too, but publish no ports.
    """
    without_nat = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    return Network(docker_network_kw={"driver": "bridge", "options": without_nat}).create()


def gateway_of(client: docker.DockerClient, network: Network) -> str:
    """The address at which the containers of a network find this machine."""
    return str(client.networks.get(network.name).attrs["IPAM"]["Config"][0]["Gateway"])


def sweep(client: docker.DockerClient) -> list[str]:
    """Remove the containers and networks of this run that are left; their names."""
    ours = {"label": f"{LABEL_SESSION_ID}={SESSION_ID}"}
    containers = client.containers.list(all=True, filters=ours)
    left = [*containers, *client.networks.list(filters=ours)]
    for container in containers:
        try:
            container.remove(force=True, v=True)
        except (NotFound, APIError):
            # Frozen, or being removed already.
            _thaw_and_remove(client, container.id)
    for network in client.networks.list(filters=ours):
        network.remove()
    return [str(one.name) for one in left]


def _thaw_and_remove(client: docker.DockerClient, container_id: str) -> None:
    try:
        container = client.containers.get(container_id)
        if container.status == "paused":
            container.unpause()
        container.remove(force=True, v=True)
    except NotFound:
        return
