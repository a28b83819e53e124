"""Readiness of a service: named checks, each with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

CHECK_INTERVAL = timedelta(seconds=5)
_PROBE_TIMEOUT = timedelta(seconds=3)


@dataclass(frozen=True)
class Check:
    """The state of one check; `reason` says why it is not ready."""

    ready: bool
    reason: str = ""


class Readiness:
    """The checks of one service: ready when every one is.

    A check that was never set does not count, so whoever has one sets it false first.
    """

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._log = structlog.get_logger()

    @property
    def ready(self) -> bool:
        """True when there is a check, and all are ready."""
        return bool(self._checks) and all(c.ready for c in self._checks.values())

    @property
    def checks(self) -> dict[str, Check]:
        """The checks by name."""
        return dict(self._checks)

    def set(self, name: str, ready: bool, reason: str = "") -> None:
        """Record a check; a change of the whole is logged, with its reasons."""
        before, was_ready = self._checks.get(name), self.ready
        self._checks[name] = Check(ready, "" if ready else reason or "not ready")
        if before is not None and before.ready != ready:
            self._log.debug("check_passed" if ready else "check_failed", check=name)
        if self.ready != was_ready:
            if self.ready:
                self._log.info("ready")
            else:
                self._log.warning("not_ready", reasons=self.reasons())
            for listener in self._listeners:
                listener(self.ready)

    def reasons(self) -> dict[str, str]:
        """Return the reason of each check that is not ready."""
        return {name: c.reason for name, c in self._checks.items() if not c.ready}

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Call `listener` now, and whenever `ready` changes; it must not block or raise."""
        self._listeners.append(listener)
        listener(self.ready)


async def keep_checking(
    readiness: Readiness,
    name: str,
    probe: Callable[[], Awaitable[object]],
    interval: timedelta = CHECK_INTERVAL,
) -> None:
    """Run `probe` for ever, every `interval`; an exception or 3 s without an answer fails it.

    The exception's text becomes the check's reason, which `/readyz` shows.
    """
    while True:
        try:
            # Not wait_for: in Python 3.11 it loses a cancel that comes with the answer.
            async with asyncio.timeout(_PROBE_TIMEOUT.total_seconds()):
                await probe()
            readiness.set(name, True)
        except TimeoutError:
            readiness.set(name, False, f"no answer within {_PROBE_TIMEOUT.total_seconds():g} s")
        except Exception as error:  # noqa: BLE001 - whatever stops the probe is the reason shown
            readiness.set(name, False, f"{error}" or type(error).__name__)
        await asyncio.sleep(interval.total_seconds())
