"""Tokens and token endpoints that calls share, each until it expires."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

SIZE = 1000
"""Values that a cache keeps; the least recently used go first."""
MARGIN_SECONDS = 30
"""A token is fetched anew so long before it expires."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Token:
    """An access token."""

    value: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    """The token that replaces the one of the policy, where a refresh brought another."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[V]):
    """A value, and for how long it may be used; None: for one call."""

    value: V
    seconds: float | None


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    until: float


class _Flight(Generic[V]):
    """A fetch that callers share; it is cancelled when none is left."""

    def __init__(self, fetch: Awaitable[Fetched[V]]) -> None:
        self._task = asyncio.ensure_future(fetch)
        self._waiting = 0
        self.is_abandoned = False

    def on_end(self, callback: Callable[[asyncio.Future[Fetched[V]]], None]) -> None:
        self._task.add_done_callback(callback)

    async def join(self) -> Fetched[V]:
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self.is_abandoned = True
                self._task.cancel()


class ExpiringCache(Generic[V]):
    """Values by key, fetched once for all who wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = SIZE) -> None:
        self._clock = clock
        self._size = size
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._flights: dict[str, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def get(
        self,
        key: str,
        fetch: Callable[[V | None], Awaitable[Fetched[V]]],
        *,
        refused: V | None = None,
    ) -> V:
        """Return the value of a key; `fetch` makes it, of the one before, where it has expired.

        `refused` is a value that does not serve though it has not expired.
        """
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            if entry.value != refused and self._clock() < entry.until:
                return entry.value
        flight = self._flights.get(key)
        if flight is None or flight.is_abandoned:
            flight = self._begin(key, fetch(None if entry is None else entry.value))
        return (await flight.join()).value

    def _begin(self, key: str, fetch: Awaitable[Fetched[V]]) -> _Flight[V]:
        flight = self._flights[key] = _Flight(fetch)
        flight.on_end(partial(self._end, key, flight))
        return flight

    def _end(self, key: str, flight: _Flight[V], task: asyncio.Future[Fetched[V]]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if task.cancelled() or task.exception() is not None:
            return  # those who wait have it
        fetched = task.result()
        until = self._clock() + (fetched.seconds or 0)
        self._entries[key] = _Entry(fetched.value, until)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)


class TokenCache:
    """The tokens of a worker, and the token endpoints that it discovered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = SIZE) -> None:
        self.tokens: ExpiringCache[Token] = ExpiringCache(clock, size)
        self.endpoints: ExpiringCache[str] = ExpiringCache(clock, size)
