"""The times of a kept watch: of the looks at its caller, and of its own heartbeats.

What is due within a second is done together: a process that is woken for each heartbeat pays for
the wake-up more than for the heartbeat, and so does Temporal. Times are seconds of one monotonic
clock.
"""

from __future__ import annotations

import math
import random

_BEAT_SHARE = 0.9
"""Of a watch's heartbeat timeout, after which its heartbeat is sent at the latest."""
_SPREAD = 0.3
"""Share of a delay by which a look is early at the most, so that looks do not bunch."""
_ROUND_SECONDS = 1.0
"""Time between the starts of two rounds of looks and heartbeats."""
_ROUND_SHARE = 0.1
"""Of a delay, by which a round may be early at the most."""
_LATE_ROUNDS = 3
"""After which a look is late: others are, too, and would stay together from then on."""


def last_round(now: float, delay: float) -> float:
    """Return when the last round within a delay starts."""
    between = _between_rounds(delay)
    return math.floor((now + delay) / between) * between


class WatchSchedule:
    """When a watch is due: its heartbeats go along with looks, as few as its timeout permits.

    Args:
        heartbeat_timeout: of the watch itself.
        began: when its activity was started, which stands for a heartbeat.
    """

    def __init__(self, heartbeat_timeout: float, began: float) -> None:
        self.look_due = -math.inf
        self._heartbeat_timeout = heartbeat_timeout
        self.beaten(began)

    def due(self) -> float:
        """Return when there is something to do."""
        return min(self.look_due, self._beat_due)

    def needs_look(self, now: float) -> bool:
        """Return whether a look is due."""
        return now >= self.look_due

    def needs_beat(self) -> bool:
        """Return whether the heartbeat would be late at the next look."""
        return self._beat_due < self.look_due

    def looked(self, now: float, delay: float) -> None:
        """Plan the next look, at the latest after a delay: exactly then, where looks are spread.

        The first one, and those that follow a late one, are early by a random time.
        """
        is_late = now - self.look_due > _LATE_ROUNDS * _between_rounds(delay)
        share = random.uniform(1 - _SPREAD, 1) if is_late else 1  # noqa: S311
        self.look_due = last_round(now, share * delay)

    def beaten(self, now: float) -> None:
        """Plan the next heartbeat."""
        self._beat_due = last_round(now, _BEAT_SHARE * self._heartbeat_timeout)

    def retry_beat(self, due: float) -> None:
        """Plan the next heartbeat after a failed one, and no look before it."""
        self._beat_due = due
        self.look_due = max(self.look_due, due)


def _between_rounds(delay: float) -> float:
    return min(_ROUND_SECONDS, _ROUND_SHARE * delay)
