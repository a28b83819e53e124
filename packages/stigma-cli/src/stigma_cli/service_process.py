"""A service of ours as a process: its start, readiness and end."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from stigma_cli.child_process import ProcessGroup, bound_to_parent, exit_text, python_module
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import as_duration
from stigma_cli.state_directory import FREE_ROOM, UMASK, is_full, open_private

HOST = "127.0.0.1"

_READY_TIMEOUT = timedelta(seconds=90)
_STOP_TIMEOUT = timedelta(seconds=40)
_POLL_SECONDS = 0.1
_LAST_LINES = 15


class ServiceProcess:
    """One service as a process of ours, with its log in a file."""

    def __init__(self, name: str, admin_port: int, log: Path, environment: Mapping[str, str]):
        self.name = name
        self.admin_port = admin_port
        self.log = log
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id, once started."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the process, again if it has ended; `wait_ready` waits until it serves."""
        with open_private(self.log, more=self._process is not None) as output:
            self._process = await asyncio.create_subprocess_exec(
                *bound_to_parent(python_module(self.name)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                umask=UMASK,
                start_new_session=True,  # a Ctrl-C is for us, who then stop it in order
            )

    async def wait_ready(self) -> None:
        """Return once the service is ready.

        Raises:
            CliError: it ended, or is not ready in time; with the end of its log.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT.total_seconds()):
                while not await asyncio.to_thread(_is_ready, self.admin_port):
                    if self._process is not None and self._process.returncode is not None:
                        raise self.ended_error()
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise CliError(
                f"{self.name} is not ready after {as_duration(_READY_TIMEOUT)}",
                self.log_tail(),
                code=Exit.UNREACHABLE,
            ) from None

    async def wait(self) -> int:
        """Wait for the process to end; returns its exit code."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self) -> None:
        """End the process: in order, by force when that takes too long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        await ProcessGroup(process).stop(_STOP_TIMEOUT)

    async def kill(self) -> None:
        """End the process by SIGKILL, as a crash would."""
        process = self._process
        if process is not None and process.returncode is None:
            await ProcessGroup(process).kill()

    def ended_error(self) -> CliError:
        """Return the error of a process that ended by itself."""
        code = self._process.returncode if self._process is not None else 0
        message = f"{self.name} {exit_text(code or 0)}"
        if is_full(self.log.parent):
            return CliError(f"{message}: {self.log.parent} has no room left", FREE_ROOM)
        if reason := _last_reason(self.log):
            return CliError(f"{message}: {reason}", f"see {self.log}")
        return CliError(message, self.log_tail())

    def log_tail(self) -> str:
        """Return the end of the log, for people."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"the end of {self.log}:", *lines])


def _last_reason(log: Path) -> str:
    """Return the reason in a log's last line, with which a service says why it gives up; or ""."""
    try:
        line = json.loads(log.read_text(errors="replace").splitlines()[-1])
        return str(line["reason"]) if line["level"] == "critical" else ""
    except (ValueError, IndexError, KeyError, TypeError):  # another line: none, or of a traceback
        return ""


def _is_ready(admin_port: int) -> bool:
    """Return whether the service behind an admin port is ready; blocks for 2 s at most."""
    connection = http.client.HTTPConnection(HOST, admin_port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
