"""The four services as containers of their images, with queues and ports of their own."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc.aio
from testcontainers.core.container import DockerContainer

from stigma_cli.devserver import free_ports
from tests.containers.container import Container, confine
from tests.containers.engine import service_image
from tests.containers.foundation import (
    NAMESPACE,
    TEMPORAL,
    TEMPORAL_PORT,
    Foundation,
)
from tests.containers.service import ServiceContainer
from tests.reliability.fault_site import CALLER
from tests.stack.channels import open_channel
from tests.stack.service import Service, ServiceError
from tests.stack.stack import SERVICES, Stack

# The caller's worker is a program of the tests', so they are mounted, at the path they have here:
# whatever names a file of theirs means the same inside.
ROOT = Path(__file__).parents[2]
API_PORT = 7300
ADMIN_PORT = 7310


class ContainerStack(Stack):
    """A `Stack` whose services are containers; those of other stacks never meet them.

    Replicas of a service share one name on the network.
    """

    principal = "tests"

    def __init__(
        self,
        foundation: Foundation,
        directory: Path,
        *,
        services: Iterable[str] = SERVICES,
        environment: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(
            foundation.temporal.address,
            directory,
            namespace=NAMESPACE,
            services=services,
            environment=environment,
        )
        self.tag = ""
        """Of the images that services are started from; empty: this version's."""
        self._foundation = foundation
        self.api_key = secrets.token_urlsafe()
        self._retired: list[Service] = []
        directory.chmod(0o755)
        self._principals = directory / "principals.json"
        self._principals.write_text(json.dumps(_principals(self.principal, self.api_key)))

    def container(self, service: str, replica: int = 0) -> Container:
        """The container of one replica, to fault it."""
        found = self.process(service, replica)
        assert isinstance(found, ServiceContainer)
        return found.container

    def replicas(self, service: str) -> list[Service]:
        """All that are there, in the order of starting."""
        return list(self._processes[service])

    async def heal(self) -> None:
        """Thaw and reconnect what was frozen or cut off, and start what was killed."""
        for service in self._chosen(()):
            assert isinstance(service, ServiceContainer)
            await service.container.heal()
        await self.start()
        for service in self._chosen(self._processes):
            await service.wait_ready()

    async def retire(self, service: str, replica: int = 0) -> None:
        """SIGTERM one replica and wait; ServiceError unless it ends in time, with exit code 0."""
        leaving = self.process(service, replica)
        code = await leaving.stop()
        if code != 0:
            raise ServiceError(f"{service} ended with {code}\n{leaving.log.tail()}")
        self._processes[service].remove(leaving)
        self._retired.append(leaving)
        await self._remove(leaving)
        await self._follow_the_api()

    async def close(self) -> None:
        """Stop everything, hang up, and remove the containers."""
        try:
            await super().close()
        finally:
            for service in self._chosen(()):
                await self._remove(service)

    def _chosen(self, services: Iterable[str]) -> list[Service]:
        chosen = list(services)
        return super()._chosen(chosen) + ([] if chosen else self._retired)

    def _new(self, service: str, number: int) -> Service:
        number += sum(one.name == service for one in self._retired)
        admin_port, free = free_ports(2)
        api_port = self.api_port if service == "stigma_api" and number == 0 else free
        environment = self._variables(service, ADMIN_PORT, API_PORT)
        log = self.directory / f"{service}-{number}.log"
        ports = {ADMIN_PORT: admin_port}
        ports |= {API_PORT: api_port} if service == "stigma_api" else {}
        container = self._define(service, environment, ports, log)
        return ServiceContainer(
            service, environment, log, container, admin_port=admin_port, api_port=api_port
        )

    def _define(
        self, service: str, environment: Mapping[str, str], ports: Mapping[int, int], log: Path
    ) -> Container:
        caller = service == CALLER
        image = service_image("zigflow_worker") if caller else service_image(service, self.tag)
        definition = DockerContainer(image).with_envs(**environment)
        for mounted in (ROOT / "tests", self.directory):
            definition.with_volume_mapping(mounted, str(mounted))
        network, aliases = self._foundation.network, [self._alias(service)]
        entrypoint = ["python", "-m", CALLER] if caller else None
        confine(definition, network, aliases, ports=ports, entrypoint=entrypoint)
        return Container(definition, network, aliases, log)

    def _variables(self, service: str, admin_port: int, api_port: int) -> dict[str, str]:
        ours = {
            "TEMPORAL_ADDRESS": f"{TEMPORAL}:{TEMPORAL_PORT}",
            "TEMPORAL_NAMESPACE": self.namespace,
            "STIGMA_TASK_QUEUE_PREFIX": self.prefix,
            "STIGMA_LOG_FORMAT": "json",
            "STIGMA_SHUTDOWN_GRACE": "10",
            "STIGMA_ADMIN_HOST": "0.0.0.0",
            "STIGMA_ADMIN_PORT": str(admin_port),
        }
        calls_the_api = {
            "STIGMA_API_ADDRESS": f"{self._alias('stigma_api')}:{api_port}",
            "STIGMA_API_KEY": self.api_key,
            "STIGMA_API_ALLOW_INSECURE": "true",
        }
        own = {
            "stigma_api": {
                "STIGMA_API_HOST": "0.0.0.0",
                "STIGMA_API_PORT": str(api_port),
                "STIGMA_REGISTRY_URL": self._foundation.postgres.url,
                "STIGMA_PRINCIPALS_FILE": str(self._principals),
            },
            "zigflow_worker": calls_the_api,
            CALLER: calls_the_api | {"PYTHONPATH": str(ROOT)},
        }
        variables = ours | own.get(service, {})
        for asked in ("*", service):
            variables |= self._environment.get(asked, {})
        return variables

    def _alias(self, service: str) -> str:
        """Its name on the network, which other stacks use as well."""
        return self.prefix + service.replace("_", "-").replace(".", "-")

    def _open_channel(self) -> grpc.aio.Channel:
        return open_channel(self.api_address, api_key=self.api_key)

    async def _follow_the_api(self) -> None:
        """Talk to the API's first replica from now on."""
        first = self.process("stigma_api")
        assert isinstance(first, ServiceContainer)
        if first.api_port != self.api_port:
            self.api_port = first.api_port
            if self._channel is not None:
                await self._channel.close()
                self._channel = None

    @staticmethod
    async def _remove(service: Service) -> None:
        assert isinstance(service, ServiceContainer)
        await service.container.remove()


def _principals(name: str, key: str) -> dict[str, object]:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return {"principals": [{"name": name, "key_sha256": [digest], "actions": ["admin"]}]}
