"""Fetches that all who wait for the same thing share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

V = TypeVar("V")


class _Flight(Generic[V]):
    """A fetch that callers share; it is cancelled when none is left."""

    def __init__(self, fetch: Awaitable[V]) -> None:
        self._task = asyncio.ensure_future(fetch)
        self._waiting = 0
        self.is_abandoned = False

    def on_end(self, callback: Callable[[asyncio.Future[V]], None]) -> None:
        self._task.add_done_callback(callback)

    async def join(self) -> V:
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self.is_abandoned = True
                self._task.cancel()


class Flights(Generic[V]):
    """Fetches under way, one a key."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[V]] = {}

    async def join(self, key: str, fetch: Callable[[], Awaitable[V]]) -> V:
        """Return what the fetch of a key brings, or raise its error; it begins where none is."""
        flight = self._flights.get(key)
        if flight is None or flight.is_abandoned:
            flight = self._flights[key] = _Flight(fetch())
            flight.on_end(partial(self._end, key, flight))
        return await flight.join()

    def _end(self, key: str, flight: _Flight[V], task: asyncio.Future[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # those who wait have it
