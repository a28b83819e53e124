"""How often an address may give a wrong API key: guessing is slow, and what is kept is bounded."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

AT_ONCE = 10
_BACK_AFTER = timedelta(minutes=1) / AT_ONCE
_MAX_ADDRESSES = 4096


class TooManyAttemptsError(Exception):
    """An address has to wait before it gives another key, `wait` long."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"too many wrong keys: none is looked at for {wait.total_seconds():g} s")
        self.wait = wait


class Attempts:
    """Ten wrong keys at once, and then one every 6 s, of each address; right ones are free."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When each address has all its tries back; those that failed last come last.
        self._restored: OrderedDict[str, float] = OrderedDict()

    def admit(self, address: str) -> None:
        """Let an address give a key.

        Raises:
            TooManyAttemptsError: it gave too many wrong ones.
        """
        back = _BACK_AFTER.total_seconds()
        owed = self._restored.get(_origin(address), 0.0) - self._clock()
        if (wait := owed - back * (AT_ONCE - 1)) > 0:
            raise TooManyAttemptsError(timedelta(seconds=wait))

    def failed(self, address: str) -> None:
        """Note a wrong key; beyond 4096 addresses the one that failed longest ago is forgotten."""
        origin, now = _origin(address), self._clock()
        restored = max(self._restored.pop(origin, now), now)
        self._restored[origin] = restored + _BACK_AFTER.total_seconds()
        if len(self._restored) > _MAX_ADDRESSES:
            self._restored.popitem(last=False)


def _origin(address: str) -> str:
    """Return what stands for an address: of IPv6, everybody has a whole network of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
