"""Attempts of activities that reach their code late: Temporal may have given them up long ago.

While a process is paused, or cut off, Temporal hands attempt after attempt to the polls that it
left open, and gives each up for want of a heartbeat. When the process goes on, it has all of them
at once, and each would call a model, a tool or a service.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, Interceptor
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput
from temporalio.worker import Interceptor as WorkerInterceptor
from typing_extensions import override

_ALLOWED_DELAY = timedelta(seconds=2)
"""Less than any heartbeat timeout of ours. With a clock that is ahead of the server's, attempts are
confirmed for nothing; with one that is behind, late ones may not be noticed."""
_RPC_TIMEOUT = timedelta(seconds=5)
_CANCEL_TIMEOUT = timedelta(seconds=10)


class LateAttempts(Interceptor, WorkerInterceptor):
    """Has Temporal confirm, by a heartbeat, that an attempt which begins late still counts.

    One that does not fails at once, before it does anything. Activities are `async def`.

    Args:
        allowed_delay: from the attempt's start, as the server has it, to its code.
    """

    def __init__(self, allowed_delay: timedelta = _ALLOWED_DELAY) -> None:
        self._allowed_delay = allowed_delay

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self._allowed_delay)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, allowed_delay: timedelta) -> None:
        super().__init__(following)
        self._allowed_delay = allowed_delay

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        delay = datetime.now(UTC) - info.started_time
        # Temporal knows no attempts of local activities: they are their workflow task's.
        if delay > self._allowed_delay and not info.is_local:
            await _confirm(delay)
        return await super().execute_activity(input)


async def _confirm(delay: timedelta) -> None:
    """Return where Temporal still waits for this attempt.

    Raises:
        ApplicationError: it does not, or does not tell. Temporal drops the failure of an attempt
            that it has given up, and retries one that counts.
        CancelledError: the activity is cancelled.
    """
    info = activity.info()
    handle = activity.client().get_async_activity_handle(task_token=info.task_token)
    try:
        # With the details that are there: a heartbeat replaces them.
        await handle.heartbeat(*info.heartbeat_details, rpc_timeout=_RPC_TIMEOUT)
    except AsyncActivityCancelledError:
        await _wait_for_cancel()
    except RPCError as error:
        is_given_up = error.status is RPCStatusCode.NOT_FOUND
        structlog.get_logger().warning(
            "late_attempt_not_made",
            delay_seconds=round(delay.total_seconds(), 3),
            reason="given up by Temporal" if is_given_up else error.status.name,
        )
        raise _not_made() from None


async def _wait_for_cancel() -> None:
    """Have the SDK cancel this task, as it does where a heartbeat tells it so."""
    activity.heartbeat(*activity.info().heartbeat_details)
    try:
        async with asyncio.timeout(_CANCEL_TIMEOUT.total_seconds()):
            await activity.wait_for_cancelled()
    except TimeoutError:
        raise _not_made() from None


def _not_made() -> ApplicationError:
    return ApplicationError(
        "the attempt came late to its worker, and was not made",
        type="LATE_ATTEMPT",
        category=ApplicationErrorCategory.BENIGN,
    )
