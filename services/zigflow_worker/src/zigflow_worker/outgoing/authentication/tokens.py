"""Tokens and token endpoints that calls share, each until it expires."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from zigflow_worker.outgoing.flights import FLIGHT_SECONDS, Flights

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


class ExpiringCache(Generic[V]):
    """Values by key, fetched once for all who wait.

    Args:
        what: a value is, for errors.
        clock: seconds, monotonic.
        size: values kept.
        seconds: that a fetch may take.
    """

    def __init__(
        self,
        what: str,
        clock: Callable[[], float] = time.monotonic,
        size: int = SIZE,
        seconds: float = FLIGHT_SECONDS,
    ) -> None:
        self._clock = clock
        self._size = size
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._flights: Flights[V] = Flights(what, seconds)

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
        before = None if entry is None else entry.value
        return await self._flights.join(key, lambda: self._fetch(key, fetch(before)))

    async def _fetch(self, key: str, fetch: Awaitable[Fetched[V]]) -> V:
        fetched = await fetch
        until = self._clock() + (fetched.seconds or 0)
        self._entries[key] = _Entry(fetched.value, until)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return fetched.value


class TokenCache:
    """The tokens of a worker, and the token endpoints that it discovered."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        size: int = SIZE,
        seconds: float = FLIGHT_SECONDS,
    ) -> None:
        configuration = "an OpenID configuration"
        self.tokens: ExpiringCache[Token] = ExpiringCache("a token", clock, size, seconds)
        self.endpoints: ExpiringCache[str] = ExpiringCache(configuration, clock, size, seconds)
