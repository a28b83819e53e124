"""Temporal's time, which deadlines and ages are measured in, as this process knows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import CollectorRegistry, Gauge
from temporalio.client import Client
from temporalio.service import RPCError

from stigma.contracts import limits
from stigma_api.errors import ApiError
from stigma_api.temporal.calls import describe

_INTERVAL = timedelta(minutes=1)


@dataclass(frozen=True)
class _Start:
    """An execution that Temporal started between two times of this machine's clock."""

    execution_id: str
    sent: datetime
    answered: datetime


class TemporalClock:
    """A machine's clock, corrected by what it is ahead of Temporal's.

    Temporal's API does not tell its time, but when an execution was started: between request and
    reply of its start. Until the first start it is taken for right.

    Args:
        client: asks when executions were started.
        registry: shows the difference.
        interval: between two comparisons, at least.
    """

    def __init__(
        self, client: Client, registry: CollectorRegistry, *, interval: timedelta = _INTERVAL
    ) -> None:
        self._client = client
        self._interval = interval
        self._skew = timedelta()
        self._latest: _Start | None = None
        self._noted = asyncio.Event()
        self._gauge = Gauge(
            "stigma_clock_skew_seconds",
            "Seconds that the clock of this process is ahead of Temporal's; negative: behind.",
            registry=registry,
        )
        self._log = structlog.get_logger()

    @property
    def skew(self) -> timedelta:
        """Time that this machine's clock is ahead of Temporal's; negative: behind."""
        return self._skew

    def now(self) -> datetime:
        """Return Temporal's time."""
        return datetime.now(UTC) - self._skew

    def note_start(self, execution_id: str, sent: datetime, answered: datetime) -> None:
        """Note an execution that was started between two times of `datetime.now`."""
        self._latest = _Start(execution_id, sent, answered)
        self._noted.set()

    async def keep_right(self) -> None:
        """Compare the clocks for ever, at a start that comes after each interval."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            if self._latest is not None and await self._compare(self._latest):
                await asyncio.sleep(self._interval.total_seconds())

    async def _compare(self, start: _Start) -> bool:
        """Return whether Temporal told when an execution was started."""
        try:
            described = await describe(self._client, start.execution_id)
        except (ApiError, RPCError) as error:
            self._log.warning("clock_not_compared", error=type(error).__name__)
            return False
        if described is None:
            return False
        told = described.workflow_execution_info.start_time.ToDatetime(UTC)
        # Anywhere between request and reply it agrees with this clock.
        skew = start.sent - told if told < start.sent else min(start.answered - told, timedelta())
        if abs(skew) > limits.MAX_CLOCK_SKEW >= abs(self._skew):
            self._log.warning("clock_skew", ahead_seconds=round(skew.total_seconds(), 1))
        self._skew = skew
        self._gauge.set(skew.total_seconds())
        return True
