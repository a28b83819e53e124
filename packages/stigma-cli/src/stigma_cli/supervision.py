"""Services that end by themselves are started again; for experiments they are killed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NoReturn

from stigma_cli.errors import CliError
from stigma_cli.output import as_duration
from stigma_cli.service_process import ServiceProcess

_FIRST_PAUSE, _MAX_PAUSE = timedelta(seconds=0.5), timedelta(seconds=10)
_MAX_STARTS = 5
# A service that has run for so long is healthy: the pause after its end is the first again.
_HEALTHY = timedelta(seconds=30)


class Supervisor:
    """Starts each of some running services again when it ends by itself.

    Args:
        services: all are ready.
        report: prints a line.
    """

    def __init__(self, services: Sequence[ServiceProcess], report: Callable[[str], None]) -> None:
        self._report = report
        self._ready = {each: asyncio.Event() for each in services}
        for ready in self._ready.values():
            ready.set()
        self._killed: set[ServiceProcess] = set()
        self.kills = 0
        """Number of kills of services by this supervisor."""
        self.restarts = 0
        """Number of times that a service was ready again."""

    async def run(self) -> CliError:
        """Look after them until one does not start any more; return its error."""
        watching = [asyncio.create_task(self._keep_up(each)) for each in self._ready]
        try:
            done, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for each in watching:
                each.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def kill(self, service: ServiceProcess) -> None:
        """Kill a service as soon as it is ready, as a crash would: by SIGKILL."""
        await self._ready[service].wait()
        self._ready[service].clear()
        self._killed.add(service)
        self.kills += 1
        await service.kill()

    async def kill_at_random(self, pause: timedelta) -> NoReturn:
        """Kill one of the services after each pause; say how many it were in the end."""
        try:
            while True:
                await asyncio.sleep(pause.total_seconds())
                await self.kill(random.choice(list(self._ready)))  # noqa: S311 - no secret
        finally:
            self._report(f"chaos: {self.kills} killed, {self.restarts} ready again")

    async def _keep_up(self, service: ServiceProcess) -> CliError:
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            await service.wait()
            self._ready[service].clear()
            if service in self._killed or time.monotonic() - began > _HEALTHY.total_seconds():
                pause = _FIRST_PAUSE
            self._killed.discard(service)
            try:
                error = await self._start_again(service, pause)
            except OSError as problem:  # its log is gone, or cannot be written
                message = f"{problem.filename or service.log}: {problem.strerror}"
                return CliError(message, f"{service.name} ended, and cannot start again")
            if error is not None:
                return error
            self._ready[service].set()
            self.restarts += 1
            pause = min(2 * pause, _MAX_PAUSE)

    async def _start_again(self, service: ServiceProcess, pause: timedelta) -> CliError | None:
        """Start a service that has ended; return the error of the last of several tries."""
        error = service.ended_error()
        for _ in range(_MAX_STARTS):
            self._report(f"{error.message}; it starts again in {as_duration(pause)}")
            await asyncio.sleep(pause.total_seconds())
            pause = min(2 * pause, _MAX_PAUSE)
            began = time.monotonic()
            try:
                await _started(service)
                await service.wait_ready()
            except CliError as failed:
                error = failed
                await service.kill()
                continue
            took = timedelta(seconds=time.monotonic() - began)
            self._report(f"{service.name} is ready again after {as_duration(took)}")
            return None
        return error


async def _started(service: ServiceProcess) -> None:
    """Start a service, to the end also when cancelled: what runs can be stopped then."""
    starting = asyncio.ensure_future(service.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        raise
