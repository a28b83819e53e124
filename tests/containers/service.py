"""One replica of a service as a container."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from tests.containers.container import Container
from tests.stack.service import Service, ServiceError


class ServiceContainer(Service):
    """A container of one service; see `Container` for what can be done to it."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log: Path,
        container: Container,
        *,
        admin_port: int,
        api_port: int,
    ) -> None:
        super().__init__(name, environment, log, admin_port=admin_port)
        self.container = container
        self.api_port = api_port
        self._starting: asyncio.Task[None] | None = None
        self._exit_code: int | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.container.exists and bool(self.container.state()["Running"])

    @property
    def pid(self) -> int:
        """Its process as this machine numbers it; ServiceError when it was never started."""
        if not self.container.exists:
            raise ServiceError(f"{self.name} was not started")
        return int(self.container.state()["Pid"])

    @property
    def returncode(self) -> int | None:
        """The exit code, 137 after SIGKILL; None while it runs."""
        if not self.container.exists:
            return self._exit_code
        state = self.container.state()
        return None if state["Running"] else int(state["ExitCode"])

    def start(self) -> None:
        """Start it and return at once; `wait_ready` waits."""
        self._starting = asyncio.create_task(self.container.start())

    async def wait_ready(self, within: timedelta = timedelta(seconds=90)) -> None:
        """Return once /readyz answers 200; ServiceError when it ends or stays unready."""
        await self._started()
        await super().wait_ready(within)

    async def stop(self, within: timedelta = timedelta(seconds=60)) -> int:
        """SIGTERM and wait: the exit code. ServiceError, and SIGKILL, when it takes longer."""
        await self._started()
        return await super().stop(within)

    async def kill(self) -> None:
        """SIGKILL and wait until it is gone."""
        await self._started()
        await super().kill()

    async def send(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        await self.container.send(number)

    async def ended(self, within: timedelta) -> int:
        """Wait for its end: the exit code, 0 when it was never started."""
        if self.container.exists:
            self._exit_code = await self.container.ended(within)
        return self._exit_code or 0

    async def _started(self) -> None:
        if self._starting is not None:
            await self._starting
