"""When an execution is timed out: the API foretells it, the workflow decides it."""

from __future__ import annotations

from datetime import datetime, timedelta

from stigma.contracts import limits


def execution_deadline(
    start: datetime, timeout: timedelta | None, callback_deadline: datetime | None
) -> datetime:
    """Return the deadline of an execution: the earliest of every limit given.

    The outcome must reach the caller before the caller's own timeout, so that one counts early.

    Args:
        start: when the execution was accepted.
        timeout: its own limit, counted from then.
        callback_deadline: when the caller's activity times out.
    """
    deadlines = []
    if timeout is not None:
        deadlines.append(start + timeout)
    if callback_deadline is not None:
        margin = min(limits.CALLBACK_MARGIN, (callback_deadline - start) / 2)
        deadlines.append(callback_deadline - margin)
    return min(deadlines, default=start + limits.DEFAULT_TIMEOUT)
