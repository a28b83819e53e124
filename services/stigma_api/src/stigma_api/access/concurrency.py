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
    """A number of places; who finds none is told when to come back instead of being queued."""

    def __init__(self, places: int, what: str) -> None:
        self._places = places
        self._what = what
        self._taken = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one place.

        Raises:
            ApiError: RESOURCE_EXHAUSTED with RetryInfo; all are taken.
        """
        if self._taken >= self._places:
            raise errors.resource_exhausted(
                f"the server works on {self._places} {self._what} already, which is its limit",
                _RETRY_AFTER,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def with_timeout(bound: timedelta, work: Awaitable[R]) -> R:
    """Return what a call answers in time.

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
