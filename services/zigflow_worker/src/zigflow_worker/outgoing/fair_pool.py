"""Bytes that calls share, and that the calls of no one server may hold all of."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

_TURN_SECONDS = 1.0
"""Time for which others wait behind one for whom there is not enough. Longer, it is the servers
that take it: others go on."""


@dataclass(slots=True)
class _Waiter:
    owner: Hashable
    size: int
    since: float
    served: asyncio.Future[None]


class FairPool:
    """So many bytes.

    An owner takes what is free, as long as it then holds no more than it leaves. So one that gives
    nothing back holds half, two of them a third each, and others always find some. The first bytes
    of an owner need only be free. Where nobody holds any, one gets what it asks for though it is
    more than there is.

    Those who wait are served in the order in which they came. Others pass those who wait for their
    own owner's bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._held: dict[Hashable, int] = {}
        self._waiting: deque[_Waiter] = deque()

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """The number of those who wait."""
        return len(self._waiting)

    async def take(self, owner: Hashable, size: int) -> None:
        """Take bytes for an owner, as soon as it may have them."""
        waiter = self._queue(owner, size)
        if waiter.served.done():
            return
        timer = asyncio.get_running_loop().call_later(_TURN_SECONDS, self._serve)
        try:
            await waiter.served
        except asyncio.CancelledError:
            self._forget(waiter)
            raise
        finally:
            timer.cancel()

    def try_take(self, owner: Hashable, size: int) -> bool:
        """Take bytes where that needs no waiting."""
        waiter = self._queue(owner, size)
        if not waiter.served.done():
            self._forget(waiter)
            return False
        return True

    def give_back(self, owner: Hashable, size: int) -> None:
        """Give bytes of an owner back."""
        self._free += size
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]
        self._serve()

    def _queue(self, owner: Hashable, size: int) -> _Waiter:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(owner, size, loop.time(), loop.create_future())
        self._waiting.append(waiter)
        self._serve()
        return waiter

    def _forget(self, waiter: _Waiter) -> None:
        if waiter.served.done() and not waiter.served.cancelled():
            self.give_back(waiter.owner, waiter.size)
            return
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        self._serve()

    def _serve(self) -> None:
        latest = asyncio.get_running_loop().time() - _TURN_SECONDS
        for waiter in list(self._waiting):
            if self._fits(waiter.owner, waiter.size):
                self._waiting.remove(waiter)
                self._take(waiter)
            elif waiter.owner not in self._held and waiter.since > latest:
                return

    def _take(self, waiter: _Waiter) -> None:
        if waiter.served.cancelled():
            return
        self._free -= waiter.size
        self._held[waiter.owner] = self._held.get(waiter.owner, 0) + waiter.size
        waiter.served.set_result(None)

    def _fits(self, owner: Hashable, size: int) -> bool:
        if self._free == self._size:
            return True
        left, held = self._free - size, self._held.get(owner, 0)
        return left >= 0 and (not held or held + size <= left)
