"""Limits of calls: how many at a time, and how long each may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import grpc

from stigma_api import errors
from stigma_api.errors import ApiError

R = TypeVar("R")

_RETRY_AFTER = timedelta(seconds=1)


class ConcurrencyLimit:
    """A number of slots. A call that finds none is refused with RetryInfo, not queued."""

    def __init__(self, slots: int, items: str) -> None:
        self._slots = slots
        self._items = items
        self._taken = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one slot.

        Raises:
            ApiError: RESOURCE_EXHAUSTED with RetryInfo; all are taken.
        """
        if self._taken >= self._slots:
            raise errors.resource_exhausted(
                f"the server works on {self._slots} {self._items} already, which is its limit",
                _RETRY_AFTER,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def with_timeout(bound: timedelta, work: Awaitable[R]) -> R:
    """Return the result of `work` if it comes in time.

    Raises:
        ApiError: DEADLINE_EXCEEDED.
    """
    try:
        async with asyncio.timeout(bound.total_seconds()) as timeout:
            return await work
    except TimeoutError:
        if not timeout.expired():
            raise
        message = f"no answer within {bound.total_seconds():g} s"
        raise ApiError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
