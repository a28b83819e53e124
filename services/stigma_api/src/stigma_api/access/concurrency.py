"""How many calls are worked on at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from stigma_api import errors

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
