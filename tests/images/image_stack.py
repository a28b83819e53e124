"""The four services in containers of their images, on the machine's own network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from stigma_cli.devserver import free_ports
from tests.images.images import SERVICE_IMAGES, confined_run, docker
from tests.stack.processes import ServiceProcess
from tests.stack.stack import Stack

# Paths of this machine, of which a container has its own.
_ELSEWHERE = ("STIGMA_REGISTRY_URL", "STIGMA_WORKFLOWS_DIR")
_MOUNTED = ("STIGMA_PROVIDERS_FILE",)


class ImageStack(Stack):
    """A `Stack` of containers, as confined as on a cluster. The registry is the image's default."""

    def add(self, service: str) -> ServiceProcess:
        """One more container, not started yet."""
        added = self._add(service)
        assert isinstance(added, ServiceProcess)
        return added

    async def close(self) -> None:
        """As `Stack.close`; a client that was killed leaves its container."""
        try:
            await super().close()
        finally:
            left = docker("ps", "--all", "--quiet", "--filter", f"name={self.prefix}").stdout
            if left:
                docker("rm", "--force", "--volumes", *left.split())

    def _new(self, service: str, number: int) -> ServiceProcess:
        admin_port, api_port = free_ports(2)
        variables = self._variables(service, admin_port, api_port if number else self.api_port)
        variables = {name: value for name, value in variables.items() if name not in _ELSEWHERE}
        [image] = [one for one in SERVICE_IMAGES if one.service == service]
        options = ["--name", f"{self.prefix}{image.name}-{number}"]
        for file in (Path(variables[name]) for name in _MOUNTED if name in variables):
            file.chmod(0o644)
            options += ["--volume", f"{file}:{file}:ro"]
        return ServiceProcess(
            service,
            variables,
            self.directory / f"{service}-{number}.log",
            admin_port=admin_port,
            command=confined_run(image, variables, *options),
        )


StartImageStack = Callable[..., Awaitable[ImageStack]]
