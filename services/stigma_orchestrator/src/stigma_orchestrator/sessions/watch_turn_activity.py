"""The activity that looks whether the workflow of a session's turn is there.

A look that finds it running fails, benignly, with the delay of the next one.
"""

from __future__ import annotations

from datetime import UTC, timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from stigma.contracts.activities import WATCH_TURN, TurnWatchActivities
from stigma.internal.v1.session_pb2 import WatchTurnRequest, WatchTurnResponse

_RPC_TIMEOUT = timedelta(seconds=5)
_MAX_DELAY_SECONDS = 15
_OPEN = frozenset((WorkflowExecutionStatus.RUNNING, None))  # None: of a later Temporal, as paused


class TurnWatcher(TurnWatchActivities):
    """Looks after the turns of sessions."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @override
    @activity.defn(name=WATCH_TURN)
    async def watch_turn(self, request: WatchTurnRequest) -> WatchTurnResponse:
        handle = self._client.get_workflow_handle(request.execution_id)
        try:
            found = await handle.describe(rpc_timeout=_RPC_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise _look_later(error.status.name) from None
            # By Temporal's clock, as the time of acceptance.
            if activity.info().started_time < request.start_by.ToDatetime(UTC):
                raise _look_later("not started") from None
            return WatchTurnResponse()
        if found.status in _OPEN:
            raise _look_later("running")
        return WatchTurnResponse()


def _look_later(message: str) -> ApplicationError:
    delay = min(activity.info().attempt, _MAX_DELAY_SECONDS)
    return ApplicationError(
        message,
        type="TURN_RUNNING",
        next_retry_delay=timedelta(seconds=delay),
        category=ApplicationErrorCategory.BENIGN,
    )
