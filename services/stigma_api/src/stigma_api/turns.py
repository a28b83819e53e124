"""Long work that shares the event loop: of what goes on for seconds, others get their turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

# Of events, each of which may hold a payload that takes a tenth of a second to read.
_IN_ONE_TURN = 4


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and let whatever else is due be done every few."""
    for place, item in enumerate(items):
        if place % _IN_ONE_TURN == 0:
            await asyncio.sleep(0)
        yield item
