"""Everything on this machine: a Temporal dev server and the four services as processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from stigma_cli.child_environment import without_other_installations
from stigma_cli.devserver import DevServer, DevServerError, find_binary, free_ports, is_free
from stigma_cli.errors import CliError, Exit
from stigma_cli.port_claims import claim_port, taken_text
from stigma_cli.service_process import HOST, ServiceProcess
from stigma_cli.state_directory import FREE_ROOM, claim, is_full, no_file, registry_url
from stigma_cli.supervision import Supervisor

SERVICES = ("stigma_api", "stigma_orchestrator", "ai_worker", "zigflow_worker")

Print = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Ports:
    """TCP ports on the loopback interface. The defaults are the services' own."""

    temporal: int = 7233
    temporal_ui: int = 8233
    api: int = 7300
    admin: Mapping[str, int] = field(
        default_factory=lambda: {name: 7310 + index for index, name in enumerate(SERVICES)}
    )
    console: int = 7301

    @classmethod
    def free(cls) -> Ports:
        """Choose free ports."""
        temporal, temporal_ui, api, console, *admin = free_ports(4 + len(SERVICES))
        return cls(temporal, temporal_ui, api, dict(zip(SERVICES, admin, strict=True)), console)


class Stack:
    """Temporal and the four services.

    Args:
        directory: logs and the registry go there.
        ports: where everything listens.
        environment: what the services inherit; by default the variables of this process.
        temporal: address and namespace of a server that runs already; None starts a dev server.
        keep: keep the dev server's data in the directory, over restarts.
    """

    def __init__(
        self,
        directory: Path,
        ports: Ports,
        *,
        environment: Mapping[str, str] | None = None,
        temporal: tuple[str, str] | None = None,
        keep: bool = False,
    ) -> None:
        self.directory = directory
        self.ports = ports
        self._environment = without_other_installations(
            os.environ if environment is None else environment, own_temporal=temporal is None
        )
        self._temporal = temporal
        self._keep = keep
        self._server: DevServer | None = None
        self._claims = ExitStack()
        self.services = [self._service(name) for name in SERVICES]

    @property
    def api_address(self) -> str:
        """Where the API listens."""
        return f"{HOST}:{self.ports.api}"

    @property
    def console_url(self) -> str:
        """Stigma's web pages."""
        return f"http://{HOST}:{self.ports.console}"

    @property
    def temporal_address(self) -> str:
        """Where Temporal listens."""
        return self._temporal[0] if self._temporal else f"{HOST}:{self.ports.temporal}"

    @property
    def namespace(self) -> str:
        """The Temporal namespace."""
        return self._temporal[1] if self._temporal else "default"

    @property
    def ui_url(self) -> str | None:
        """Temporal's web UI, when the dev server is ours."""
        return None if self._temporal else f"http://{HOST}:{self.ports.temporal_ui}"

    @property
    def loses_data(self) -> bool:
        """True where Temporal's data ends with the dev server."""
        return self._temporal is None and not self._keep

    @property
    def variables(self) -> dict[str, str]:
        """The variables of an environment whose commands and workers reach it."""
        return {
            "STIGMA_API_ADDRESS": self.api_address,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.namespace,
        }

    def claim(self) -> None:
        """Make the directory and the ports ours, before anything starts.

        Raises:
            CliError: the directory or a port is in use, or the directory cannot be written.
        """
        with ExitStack() as claims:
            claim(self.directory, claims)
            given: dict[int, str] = {}
            for name, port in self._listeners():
                if port in given:
                    message = f"port {port} is given to both {given[port]} and {name}"
                    raise CliError(message, code=Exit.USAGE)
                given[port] = name
                if not claim_port(HOST, port, claims) or not is_free(port):
                    raise CliError(
                        f"{taken_text(port)}: {name} cannot listen there",
                        "is another `stigma up` running? `--free-ports` takes free ones",
                    )
            self._claims = claims.pop_all()

    async def start(self, report: Print) -> None:
        """Start everything and wait until it is ready.

        Raises:
            CliError: something did not start.
        """
        if self._temporal is None:
            await self._start_temporal(report)
        report("starting the services …")
        began = time.monotonic()

        async def ready(service: ServiceProcess) -> None:
            await service.wait_ready()
            report(f"{service.name} is ready after {time.monotonic() - began:.1f} s")

        try:
            for service in self.services:
                await service.start()
        except OSError as error:
            raise no_file(error, self.directory) from None
        await self.while_up(asyncio.gather(*map(ready, self.services)))

    @property
    def begun(self) -> bool:
        """True once a process was started."""
        return self._server is not None or any(each.pid is not None for each in self.services)

    @property
    def temporal_log(self) -> Path | None:
        """The dev server's output, when it is ours."""
        return None if self._temporal else self.directory / "temporal.log"

    async def while_up(self, work: Awaitable[T], supervisor: Supervisor | None = None) -> T:
        """Await some work as long as every process runs, as `wait_failed` waits.

        Raises:
            CliError: one ended by itself.
        """
        working = asyncio.ensure_future(work)
        failing = asyncio.create_task(self.wait_failed(supervisor))
        try:
            await asyncio.wait([working, failing], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise failing.result()
        finally:
            working.cancel()
            failing.cancel()
            await asyncio.wait([working, failing])

    async def wait_failed(self, supervisor: Supervisor | None = None) -> CliError:
        """Wait until a process ends by itself; return its error.

        Args:
            supervisor: starts services again; only one that it gives up counts then.
        """
        if supervisor is not None:
            ends = [asyncio.create_task(supervisor.run())]
        else:
            ends = [asyncio.create_task(_end_of(each)) for each in self.services]
        if self._server is not None:
            ends.append(asyncio.create_task(self._end_of_temporal(self._server)))
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for each in ends:
                each.cancel()
            await asyncio.wait(ends)

    async def stop(self) -> None:
        """Stop the services, then Temporal."""
        await asyncio.gather(*(service.stop() for service in self.services))
        if self._server is not None:
            await self._server.stop()
        self._claims.close()

    def _listeners(self) -> Iterator[tuple[str, int]]:
        if self._temporal is None:
            yield "Temporal", self.ports.temporal
            yield "Temporal's UI", self.ports.temporal_ui
        yield "stigma_api", self.ports.api
        yield "the console", self.ports.console
        yield from self.ports.admin.items()

    async def _start_temporal(self, report: Print) -> None:
        try:
            binary = await asyncio.to_thread(find_binary)
            report("starting Temporal …")
            self._server = DevServer(
                binary,
                ip=HOST,
                port=self.ports.temporal,
                ui_port=self.ports.temporal_ui,
                db_filename=self.directory / "temporal.db" if self._keep else None,
                log=self.temporal_log,
            )
            await self._server.start()
        except DevServerError as error:
            if is_full(self.directory):
                raise CliError(f"{self.directory} has no room left", FREE_ROOM) from None
            raise CliError(str(error)) from None
        except OSError as error:
            raise no_file(error, self.directory) from None

    async def _end_of_temporal(self, server: DevServer) -> CliError:
        await server.wait()
        return CliError("Temporal's dev server ended", f"see {self.temporal_log}")

    def _service(self, name: str) -> ServiceProcess:
        admin_port = self.ports.admin[name]
        environment = {
            "STIGMA_REGISTRY_URL": registry_url(self.directory),
            "STIGMA_CONSOLE_TEMPORAL_UI_URL": self.ui_url or "",
            "STIGMA_TOOL_TASK_QUEUES": "*",
            "STIGMA_TOOL_NEXUS_ENDPOINTS": "*",
            "STIGMA_OUTGOING_ALLOW": "127.0.0.0/8,::1",  # services of whoever tries it out
            **self._environment,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.namespace,
            "STIGMA_LOG_FORMAT": "json",
            "STIGMA_ADMIN_HOST": HOST,
            "STIGMA_ADMIN_PORT": str(admin_port),
            "STIGMA_API_HOST": HOST,
            "STIGMA_API_PORT": str(self.ports.api),
            "STIGMA_API_ADDRESS": self.api_address,
            "STIGMA_CONSOLE_ENABLED": "true",
            "STIGMA_CONSOLE_HOST": HOST,
            "STIGMA_CONSOLE_PORT": str(self.ports.console),
        }
        return ServiceProcess(name, admin_port, self.directory / f"{name}.log", environment)


async def _end_of(service: ServiceProcess) -> CliError:
    await service.wait()
    return service.ended_error()
