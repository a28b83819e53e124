"""The four services as processes on a Temporal server, with queues and ports of their own."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc.aio
from temporalio.client import Client

from stigma.agent.v1 import agent_execution_service_pb2_grpc, agent_service_pb2_grpc
from stigma.contracts import payloads
from stigma.contracts.task_queues import TaskQueues
from stigma_cli.devserver import free_ports
from tests.stack.logs import Event
from tests.stack.processes import ServiceProcess
from tests.stack.service import Service, ServiceError

SERVICES = ("stigma_orchestrator", "ai_worker", "stigma_api", "zigflow_worker")

_OUR_VARIABLES = ("STIGMA_", "TEMPORAL_", "OTEL_")


class Stack:
    """Services started together, isolated from other stacks on the same Temporal server.

    ``environment`` adds variables to a service's own, by service name; "*" is every service.
    ``services`` says which to start. Methods with a service's name mean all its replicas.
    """

    principal = "local"
    """Whom the API takes callers for: without principals, everybody."""
    api_key = ""
    """What they show."""

    def __init__(
        self,
        temporal_address: str,
        directory: Path,
        *,
        namespace: str = "default",
        services: Iterable[str] = SERVICES,
        environment: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.directory = directory
        self.temporal_address = temporal_address
        self.namespace = namespace
        self.prefix = f"t{uuid.uuid4().hex[:8]}-"
        self.queues = TaskQueues(self.prefix)
        [self.api_port] = free_ports(1)
        self._environment = environment or {}
        self._services = tuple(services)
        self._processes: dict[str, list[Service]] = {}
        self._client: Client | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def api_address(self) -> str:
        """The API's first replica, ``host:port``."""
        return f"127.0.0.1:{self.api_port}"

    @property
    def client(self) -> Client:
        """A Temporal client with Stigma's data converter; only after `start`."""
        if self._client is None:
            raise ServiceError("the stack was not started")
        return self._client

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to the API."""
        if self._channel is None:
            self._channel = self._open_channel()
        return self._channel

    @property
    def agents(self) -> agent_service_pb2_grpc.AgentServiceAsyncStub:
        """The API's agents."""
        return agent_service_pb2_grpc.AgentServiceStub(self.channel)

    @property
    def executions(self) -> agent_execution_service_pb2_grpc.AgentExecutionServiceAsyncStub:
        """The API's agent executions."""
        return agent_execution_service_pb2_grpc.AgentExecutionServiceStub(self.channel)

    async def start(self, *services: str) -> None:
        """Start these services, by default all of the stack's, and wait until they are ready."""
        if self._client is None:
            self._client = await Client.connect(
                self.temporal_address,
                namespace=self.namespace,
                data_converter=payloads.DATA_CONVERTER,
            )
        started = []
        for service in services or self._services:
            if service not in self._processes:
                self._add(service)
            started += [one for one in self._processes[service] if not one.running]
        for process in started:
            process.start()
        await asyncio.gather(*(process.wait_ready() for process in started))

    async def replicate(self, service: str) -> Service:
        """Start one more replica of a service, on ports of its own, and wait until it is ready."""
        process = self._add(service)
        process.start()
        await process.wait_ready()
        return process

    async def stop(self, *services: str) -> None:
        """SIGTERM and wait; ServiceError unless each ends in time, with exit code 0."""
        running = [one for one in self._chosen(services) if one.running]
        codes = await asyncio.gather(*(one.stop() for one in running), return_exceptions=True)
        for process, code in zip(running, codes, strict=True):
            if isinstance(code, BaseException):
                raise code
            if code != 0:
                raise ServiceError(f"{process.name} ended with {code}\n{process.log.tail()}")

    async def kill(self, *services: str) -> None:
        """SIGKILL and wait until they are gone."""
        await asyncio.gather(*(one.kill() for one in self._chosen(services)))

    async def restart(self, *services: str) -> None:
        """Stop in order, start again on the same ports, wait until ready."""
        await self.stop(*services)
        await self.start(*services)

    async def close(self) -> None:
        """Stop everything and hang up."""
        try:
            await self.stop()
        finally:
            await self.kill()
            if self._channel is not None:
                await self._channel.close()

    def process(self, service: str, replica: int = 0) -> Service:
        """One process, by service and the order of starting."""
        return self._processes[service][replica]

    async def wait_for_event(
        self,
        service: str,
        event: str,
        *,
        within: timedelta = timedelta(seconds=60),
        **fields: Any,
    ) -> Event:
        """Return the first such log event of the service's first process."""
        return await self.process(service).log.wait_for(event, within=within, **fields)

    def events(self, event: str | None = None, **fields: Any) -> list[Event]:
        """Such log events of every service, in the order of their timestamps."""
        found = [line for one in self._chosen(()) for line in one.log.events(event, **fields)]
        return sorted(found, key=lambda line: str(line.get("timestamp", "")))

    def raw_logs(self) -> bytes:
        """Every byte that any service wrote, to search for what must not be there."""
        return b"\n".join(one.log.raw() for one in self._chosen(()))

    def tails(self, lines: int = 40) -> list[tuple[str, str]]:
        """Each log's name and its end, for a failing test's report."""
        return [(one.log.path.stem, one.log.tail(lines)) for one in self._chosen(())]

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _chosen(self, services: Iterable[str]) -> list[Service]:
        return [one for name in services or self._processes for one in self._processes[name]]

    def _add(self, service: str) -> Service:
        replicas = self._processes.setdefault(service, [])
        replicas.append(self._new(service, len(replicas)))
        return replicas[-1]

    def _new(self, service: str, number: int) -> Service:
        admin_port, api_port = free_ports(2)
        return ServiceProcess(
            service,
            self._variables(service, admin_port, api_port if number else self.api_port),
            self.directory / f"{service}-{number}.log",
            admin_port=admin_port,
        )

    def _open_channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.api_address)

    def _variables(self, service: str, admin_port: int, api_port: int) -> dict[str, str]:
        """The whole environment: nothing of the developer's own settings reaches a test."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_OUR_VARIABLES)}
        workflows = self.directory / "workflows"
        workflows.mkdir(exist_ok=True)
        ours = {
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.namespace,
            "STIGMA_TASK_QUEUE_PREFIX": self.prefix,
            "STIGMA_LOG_FORMAT": "json",
            "STIGMA_SHUTDOWN_GRACE": "5",
            "STIGMA_ADMIN_HOST": "127.0.0.1",
            "STIGMA_ADMIN_PORT": str(admin_port),
        }
        own = {
            "stigma_api": {
                "STIGMA_API_HOST": "127.0.0.1",
                "STIGMA_API_PORT": str(api_port),
                "STIGMA_REGISTRY_URL": f"sqlite+aiosqlite:///{self.directory}/registry.db",
            },
            "zigflow_worker": {
                "STIGMA_API_ADDRESS": self.api_address,
                "STIGMA_WORKFLOWS_DIR": str(workflows),
            },
        }
        variables = inherited | ours | own.get(service, {})
        for asked in ("*", service):
            variables |= self._environment.get(asked, {})
        return variables
