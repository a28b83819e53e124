"""Short waits of a run that are under way: activities, of which a run may have 2,000."""

from __future__ import annotations

import asyncio
from collections import deque

MAX_SHORT_WAITS = 500
"""Short waits at a time, besides effects. Where there are more, the others are timers."""
SLACK_SECONDS = 5.0
"""Time after its end in which a wait's activity may still be there, where its worker is gone."""


class ShortWaits:
    """Counts the activities of short waits; times are seconds of the run's clock.

    One that is cancelled is there until its time is over: nothing tells when it ended.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._abandoned: deque[float] = deque()

    def are_many(self, now: float) -> bool:
        """Return whether there may be no more."""
        while self._abandoned and self._abandoned[0] <= now:
            self._abandoned.popleft()
        return len(self._running) + len(self._abandoned) >= MAX_SHORT_WAITS

    def add(self, wait: asyncio.Task[None]) -> None:
        """Count one while its task runs."""
        self._running.add(wait)
        wait.add_done_callback(self._running.discard)

    def abandon(self, now: float, delay: float) -> None:
        """Count one that was cancelled, of so many seconds, until it has ended in any case."""
        self._abandoned.append(now + delay + SLACK_SECONDS)
