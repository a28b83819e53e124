"""Batches of several workflows as one stream.

What is in their histories already comes in order of time, whatever is read first; what happens
from then on comes as it happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stigma_api.executions.cursors import Position
from stigma_api.executions.followed_workflow import Batch, FollowedWorkflow

T = TypeVar("T")


@dataclass(eq=False)
class Source(Generic[T]):
    """The batches of one workflow, the next of which is read ahead."""

    workflow: FollowedWorkflow[T]
    start: Position
    _batches: AsyncGenerator[Batch[T], None] = field(init=False)
    _reading: asyncio.Task[Batch[T] | None] | None = None

    def __post_init__(self) -> None:
        self._batches = self.workflow.batches(self.start)

    def read_ahead(self) -> asyncio.Task[Batch[T] | None]:
        """Return what reads the next batch; its result is None at the end."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._next())
        return self._reading

    def take(self) -> None:
        """Go on after the next batch, which was read."""
        self._reading = None

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._batches.aclose()

    async def _next(self) -> Batch[T] | None:
        return await anext(self._batches, None)


async def earliest(sources: Sequence[Source[T]]) -> tuple[Source[T], Batch[T] | None]:
    """Wait for the next batch of all, and return it with its source, which has it still.

    It is one that is there, once those of the other sources are there too or have yet to happen.
    At the end of a source it is None.

    Raises:
        ApiError: as reading any of them.
    """
    while True:
        readings = [(each, each.read_ahead()) for each in sources]
        waiting = [(each, reading) for each, reading in readings if not reading.done()]
        ready = [(each, reading.result()) for each, reading in readings if reading.done()]
        if ready and not any(each.workflow.has_more for each, _ in waiting):
            return min(ready, key=_time)
        pending = [reading for _, reading in waiting]
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)


def _time(ready: tuple[Source[T], Batch[T] | None]) -> int:
    _, batch = ready
    return batch.time.ToNanoseconds() if batch is not None else 0
