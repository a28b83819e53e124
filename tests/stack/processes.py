"""One service as a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from tests.stack.forked import ForkedProcess, Streams, start_command, start_module
from tests.stack.service import Service, ServiceError


class ServiceProcess(Service):
    """A process of one service."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log: Path,
        *,
        admin_port: int,
        command: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, environment, log, admin_port=admin_port)
        self._command = command
        self._process: ForkedProcess | subprocess.Popen[bytes] | None = None

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
        with self.log.path.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            streams = Streams(nothing.fileno(), output.fileno(), output.fileno())
            if self._command is not None:
                self._process = start_command(self._command, self.environment, streams)
            else:
                self._process = start_module(self.name, (), self.environment, streams)

    async def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP and SIGCONT pause and resume it."""
        if self._process is not None:
            self._process.send_signal(number)

    async def ended(self, within: timedelta) -> int:
        """Wait for its end: the exit code, 0 when it was never started."""
        if self._process is None:
            return 0
        try:
            return await asyncio.to_thread(self._process.wait, within.total_seconds())
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(str(error)) from None
