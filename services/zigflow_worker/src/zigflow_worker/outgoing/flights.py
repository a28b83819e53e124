"""Fetches that all who wait for the same thing share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from zigflow_worker.errors import COMMUNICATION, WorkflowError

FLIGHT_SECONDS = 60.0
"""Time for a fetch. Whoever comes joins the one that is under way: without an end, one that hangs
would hold up all calls for good, though its server has long been well again."""

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
    """Fetches under way, one a key.

    Args:
        what: is fetched, for errors.
        seconds: that a fetch may take.
    """

    def __init__(self, what: str, seconds: float = FLIGHT_SECONDS) -> None:
        self._what = what
        self._seconds = seconds
        self._flights: dict[str, _Flight[V]] = {}

    async def join(self, key: str, fetch: Callable[[], Awaitable[V]]) -> V:
        """Return what the fetch of a key brings, or raise its error; it begins where none is.

        Raises:
            WorkflowError: of type `communication`, status 500, where it takes too long.
        """
        flight = self._flights.get(key)
        if flight is None or flight.is_abandoned:
            flight = self._flights[key] = _Flight(self._limited(fetch))
            flight.on_end(partial(self._end, key, flight))
        return await flight.join()

    async def _limited(self, fetch: Callable[[], Awaitable[V]]) -> V:
        limit = asyncio.timeout(self._seconds)
        try:
            async with limit:
                return await fetch()
        except TimeoutError:
            if not limit.expired():
                raise
            detail = f"{self._what} took longer than {self._seconds:g} s"
            raise WorkflowError.of(COMMUNICATION, detail) from None

    def _end(self, key: str, flight: _Flight[V], task: asyncio.Future[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # those who wait have it
