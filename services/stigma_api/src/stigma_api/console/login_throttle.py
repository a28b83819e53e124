"""Throttle of wrong API keys by address: guessing is slow, and memory is bounded."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

BURST = 10
_REFILL_INTERVAL = timedelta(minutes=1) / BURST
_MAX_ADDRESSES = 4096


class TooManyAttemptsError(Exception):
    """An address has to wait before it may give another key."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"too many wrong keys: none is looked at for {wait.total_seconds():g} s")
        self.wait = wait


class LoginThrottle:
    """Allows each address ten wrong keys at once, then one every 6 s; right ones are free.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The time at which each address has its whole burst back; the last to fail comes last.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def check(self, address: str) -> None:
        """Allow an address to give a key.

        Raises:
            TooManyAttemptsError: it gave too many wrong ones.
        """
        interval = _REFILL_INTERVAL.total_seconds()
        until_full = self._full_at.get(_network(address), 0.0) - self._clock()
        if (wait := until_full - interval * (BURST - 1)) > 0:
            raise TooManyAttemptsError(timedelta(seconds=wait))

    def record_failure(self, address: str) -> None:
        """Record a wrong key; beyond 4096 addresses the oldest is forgotten."""
        network, now = _network(address), self._clock()
        full_at = max(self._full_at.pop(network, now), now)
        self._full_at[network] = full_at + _REFILL_INTERVAL.total_seconds()
        if len(self._full_at) > _MAX_ADDRESSES:
            self._full_at.popitem(last=False)


def _network(address: str) -> str:
    """Return the address, of IPv6 its /64 network: everybody has a whole one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
