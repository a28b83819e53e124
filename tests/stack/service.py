"""One running service, whatever it runs as: what tests start, watch and end."""

from __future__ import annotations

import asyncio
import http.client
import signal
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from tests.stack.logs import ServiceLog
from tests.stack.waiting import eventually


class ServiceError(AssertionError):
    """A service died, did not become ready or did not stop; the message ends with its log."""


class Service(ABC):
    """One replica of a service; its ports and its log stay the same over restarts."""

    def __init__(
        self, name: str, environment: Mapping[str, str], log: Path, *, admin_port: int
    ) -> None:
        self.name = name
        self.log = ServiceLog(log)
        self.admin_port = admin_port
        self.environment = dict(environment)

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it was started and has not ended."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id on this machine; ServiceError when it was never started."""

    @property
    @abstractmethod
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""

    @abstractmethod
    def start(self) -> None:
        """Start it and return at once; `wait_ready` waits."""

    @abstractmethod
    async def send(self, number: signal.Signals) -> None:
        """Send its process a signal."""

    @abstractmethod
    async def ended(self, within: timedelta) -> int:
        """Wait for its end: the exit code. TimeoutError when it runs on."""

    async def wait_ready(self, within: timedelta = timedelta(seconds=120)) -> None:
        """Return once /readyz answers 200; ServiceError when it ends or stays unready."""
        try:
            await eventually(self._is_ready, within=within, what="ready")
        except TimeoutError as error:
            raise ServiceError(
                f"{self.name} is {error}\n/readyz: {(await self.admin('/readyz'))[1]}\n"
                f"{self.log.tail()}"
            ) from None

    async def admin(self, path: str) -> tuple[int, str]:
        """GET an admin page: status and body; status 0 when nobody answers."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.admin_port}{path}")

    async def stop(self, within: timedelta = timedelta(seconds=40)) -> int:
        """SIGTERM and wait: the exit code. ServiceError, and SIGKILL, when it takes longer."""
        if self.running:
            await self.send(signal.SIGTERM)
        try:
            return await self.ended(within)
        except TimeoutError:
            await self.kill()
            raise ServiceError(
                f"{self.name} did not end within {within} of SIGTERM\n{self.log.tail()}"
            ) from None

    async def kill(self) -> None:
        """SIGKILL and wait until it is gone."""
        if self.running:
            await self.send(signal.SIGKILL)
        await self.ended(timedelta(seconds=60))

    async def _is_ready(self) -> bool:
        if not self.running:
            raise ServiceError(
                f"{self.name} ended with {self.returncode} before it was ready\n{self.log.tail()}"
            )
        return (await self.admin("/readyz"))[0] == 200


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (OSError, http.client.HTTPException) as error:  # the latter in the middle of a page
        return 0, str(error)
