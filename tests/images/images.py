"""Images on the Docker engine, as the tests look at them."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

HOW_TO_GET = "no Docker engine answers: apt-get install docker.io containerd runc iptables"
HOW_TO_BUILD = "image {} is absent: make images"
TEMPORAL_VERSION = "1.9.1"

_ANSWER_SECONDS = 120
"""Much longer than any command takes, containers that load all modules included."""
_BUILT_ON = "dev.stigma.base"


@dataclass(frozen=True)
class Image:
    """One image. ``service`` is the module that it runs, empty for Temporal's."""

    name: str
    service: str = ""

    @property
    def reference(self) -> str:
        """Name and tag."""
        return f"stigma/{self.name}:{service_tag() if self.service else TEMPORAL_VERSION}"

    @property
    def exists(self) -> bool:
        return docker("image", "inspect", self.reference, check=False).returncode == 0

    def inspect(self) -> dict[str, Any]:
        return inspect_image(self.reference)

    def base(self) -> dict[str, Any]:
        """The image that it was built on."""
        return inspect_image(self.inspect()["Config"]["Labels"][_BUILT_ON])

    def own_bytes(self) -> int:
        """What its layers add to those of its base, or all when it has none."""
        base = self.base()["Size"] if self.service else 0
        return int(self.inspect()["Size"] - base)


def service_tag() -> str:
    """The tag that `make images` gave to the services' images."""
    return os.environ.get("TAG") or version("stigma-core")


SERVICE_IMAGES = tuple(
    Image(service.replace("_", "-"), service)
    for service in ("stigma_api", "stigma_orchestrator", "ai_worker", "zigflow_worker")
)
TEMPORAL_IMAGE = Image("temporal-dev")


def engine_answers() -> bool:
    try:
        return docker("info", check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def docker(
    *arguments: str, check: bool = True, seconds: float = _ANSWER_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run one command of the Docker client."""
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=seconds, check=check
    )


def inspect_image(reference: str) -> dict[str, Any]:
    [found] = json.loads(docker("image", "inspect", reference).stdout)
    return dict(found)


def confined_run(image: Image, environment: Mapping[str, str], *options: str) -> list[str]:
    """The command that runs a service as on a cluster: read-only, without any capability.

    On the machine's own network, where tests have their servers. The client passes signals on,
    writes the container's output and ends with its exit code. Values of the variables are read
    from the client's environment.
    """
    command = ["docker", "run", "--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp"]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    for name in environment:
        if name.startswith(("STIGMA_", "TEMPORAL_", "GATE_")):
            command += ["--env", name]
    return [*command, *options, image.reference]


@contextmanager
def files_of(image: Image) -> Iterator[tarfile.TarFile]:
    """Its whole file system, as a stream to be read once."""
    container = docker("create", image.reference).stdout.strip()
    try:
        with (
            subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            yield archive
    finally:
        docker("rm", "--volumes", container)
