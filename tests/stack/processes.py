"""One service as a real process."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from stigma_cli.devserver import bound_to_parent
from tests.stack.logs import ServiceLog
from tests.stack.waiting import eventually


class ServiceError(AssertionError):
    """A service died, did not become ready or did not stop; the message ends with its log."""


class ServiceProcess:
    """A process of one service; its ports and its log stay the same over restarts."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log: Path,
        *,
        admin_port: int,
        command: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.log = ServiceLog(log)
        self.admin_port = admin_port
        self.environment = dict(environment)
        self._command = list(command or (sys.executable, "-m", name))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id; ServiceError when it was never started."""
        if self._process is None:
            raise ServiceError(f"{self.name} was not started")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it and return at once; `wait_ready` waits."""
        if self.running:
            raise ServiceError(f"{self.name} runs already")
        with self.log.path.open("ab") as output:
            self._process = subprocess.Popen(
                bound_to_parent(self._command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def wait_ready(self, within: timedelta = timedelta(seconds=60)) -> None:
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
            self.signal(signal.SIGTERM)
        try:
            return await self._ended(within)
        except subprocess.TimeoutExpired:
            await self.kill()
            raise ServiceError(
                f"{self.name} did not end within {within} of SIGTERM\n{self.log.tail()}"
            ) from None

    async def kill(self) -> None:
        """SIGKILL and wait until it is gone."""
        if self.running:
            self.signal(signal.SIGKILL)
        await self._ended(timedelta(seconds=10))

    def signal(self, number: signal.Signals) -> None:
        """Send it any signal: SIGSTOP and SIGCONT pause and resume it."""
        if self._process is not None:
            self._process.send_signal(number)

    async def _ended(self, within: timedelta) -> int:
        if self._process is None:
            return 0
        return await asyncio.to_thread(self._process.wait, within.total_seconds())

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
    except OSError as error:
        return 0, str(error)
