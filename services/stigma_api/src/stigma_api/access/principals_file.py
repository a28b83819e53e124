"""The principals file as it changes: who may call is what it says now, without a restart."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter

from stigma.runtime.reloaded_files import ReloadedFiles
from stigma_api.access.principals import Principals, PrincipalsError

_INTERVAL = timedelta(seconds=1)


class PrincipalsFile:
    """Keeps principals as their file says; what it says wrongly changes nothing.

    Args:
        path: of the file.
        principals: what the service has read at its start; changed in place.
        registry: counts what was read.
        interval: between two looks at the file.
    """

    def __init__(
        self,
        path: Path,
        principals: Principals,
        registry: CollectorRegistry,
        *,
        interval: timedelta = _INTERVAL,
    ) -> None:
        self._path = path
        self._principals = principals
        self._interval = interval.total_seconds()
        self._files = ReloadedFiles((path,), self._load, value=principals)
        self._unreadable = ""
        self._reloads = Counter(
            "stigma_principals_reloads_total",
            "Changed principals files: loaded, or refused, and then the principals before serve.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("loaded", "refused"):
            self._reloads.labels(outcome)
        self._log = structlog.get_logger()

    async def follow(self) -> None:
        """Look at the file for ever."""
        while True:
            await asyncio.sleep(self._interval)
            await self._look()

    async def _look(self) -> None:
        try:
            # In a thread: a large file takes longer than calls may wait for.
            found = await asyncio.to_thread(self._files.reload)
        except OSError as error:
            reason = str(error.strerror)
            if reason != self._unreadable:  # or each look would say so
                self._unreadable = reason
                self._refuse(reason)
            return
        except PrincipalsError as error:
            self._refuse(error.reason)
            return
        self._unreadable = ""
        if found is not None and self._principals.replace(found):
            self._reloads.labels("loaded").inc()
            self._log.info("principals_loaded", principals=found.count)

    def _load(self) -> Principals:
        return Principals.parse(self._path.read_bytes(), self._path)

    def _refuse(self, reason: str) -> None:
        self._reloads.labels("refused").inc()
        self._log.error(
            "principals_refused",
            reason=reason,
            file=str(self._path),
            action="correct the file: the principals that were loaded before still serve",
        )
