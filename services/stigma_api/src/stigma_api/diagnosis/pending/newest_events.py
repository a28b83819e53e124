"""The newest events of a run: in them is what it waits for, unless that began long ago."""

from __future__ import annotations

from collections.abc import Callable

from temporalio.api.history.v1 import HistoryEvent
from temporalio.service import RPCError, RPCStatusCode

from stigma_api.temporal.histories import Histories, Run

# Bytes after which no further page is read: an event may hold a whole conversation.
_MAX_BYTES = 8 * 1024 * 1024
_PAGE = 100


async def newest_events(
    histories: Histories,
    run: Run,
    limit: int,
    is_enough: Callable[[HistoryEvent], bool] = lambda _event: False,
) -> list[HistoryEvent]:
    """Return the newest events of a run, in order; none for a run that is gone.

    Args:
        histories: reads them.
        run: whose.
        limit: most events.
        is_enough: is called with each event, the newest first; returns whether to stop after it.

    Raises:
        ApiError: UNAVAILABLE; Temporal does not answer.
    """
    found: list[HistoryEvent] = []
    size = 0
    try:
        async for event in histories.newest_first(run, _PAGE):
            found.append(event)
            size += event.ByteSize()
            if is_enough(event) or len(found) >= limit or size >= _MAX_BYTES:
                break
    except RPCError as error:
        if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
            raise
    return found[::-1]
