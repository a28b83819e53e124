"""The system activity that looks whether a caller still waits: one heartbeat, no more.

A look that finds the caller waiting fails, benignly, and says when to look again: between looks
nothing holds a slot and nothing is written to the history. The heartbeat also keeps the caller's
activity alive, and a caller that asked for cancellation is told by it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    RecordActivityTaskHeartbeatRequest,
)
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import tokens
from stigma.contracts.activities import WATCH_CALLER
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_CANCEL_REQUESTED,
    CALLER_VERDICT_GONE,
    Bind,
    CallerVerdict,
    WatchCallerRequest,
    WatchCallerResponse,
)

if TYPE_CHECKING:
    from temporalio.api.workflow.v1 import PendingActivityInfo

    from stigma.internal.v1.task_token_pb2 import TaskToken

_RPC_TIMEOUT = timedelta(seconds=5)
_WITHOUT_HEARTBEAT = timedelta(seconds=60)
_UNKNOWN = timedelta(minutes=5)
_SHORTEST = timedelta(seconds=1)
_RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING


class CallerWatcher:
    """Looks after the callers of agents that work for long."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(name=WATCH_CALLER)
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        """Look once.

        Returns:
            What became of the caller, once it no longer waits.

        Raises:
            ApplicationError: it waits, or Temporal did not answer; carries when to look again.
        """
        bind = request.binding
        try:
            verdict = await self._look(bind)
        except RPCError as error:
            raise _look_again(_UNKNOWN, f"no answer: {error.status.name}") from None
        return WatchCallerResponse(verdict=verdict)

    async def _look(self, bind: Bind) -> CallerVerdict.ValueType:
        token = tokens.parse(bind.token)
        alive = True
        try:
            heartbeat = await self._client.workflow_service.record_activity_task_heartbeat(
                RecordActivityTaskHeartbeatRequest(
                    namespace=self._namespace(bind),
                    task_token=bind.token,
                    identity=self._client.identity,
                ),
                retry=True,
                timeout=_RPC_TIMEOUT,
            )
            if heartbeat.cancel_requested:
                return CALLER_VERDICT_CANCEL_REQUESTED
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            alive = False
        if alive and bind.caller.HasField("heartbeat_timeout"):
            raise _look_again(bind.caller.heartbeat_timeout.ToTimedelta() / 4, "waiting")
        pending = await self._pending(bind, token)
        if pending is not None or alive:
            raise _look_again(_interval(pending), "waiting")
        return CALLER_VERDICT_GONE

    async def _pending(self, bind: Bind, token: TaskToken) -> PendingActivityInfo | None:
        """Return the waiting activity, between two attempts too, or None when it is gone.

        A reset closes the caller's run and goes on in another: it is followed.
        """
        run_id = token.run_id
        while run_id:
            try:
                described = await self._describe(bind, token.workflow_id, run_id)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                return None
            if described.workflow_execution_info.status == _RUNNING:
                return next(
                    (a for a in described.pending_activities if a.activity_id == token.activity_id),
                    None,
                )
            run_id = described.workflow_extended_info.reset_run_id
        return None

    async def _describe(
        self, bind: Bind, workflow_id: str, run_id: str
    ) -> DescribeWorkflowExecutionResponse:
        return await self._client.workflow_service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(
                namespace=self._namespace(bind),
                execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            ),
            retry=True,
            timeout=_RPC_TIMEOUT,
        )

    def _namespace(self, bind: Bind) -> str:
        return bind.caller.namespace or self._client.namespace


def _interval(pending: PendingActivityInfo | None) -> timedelta:
    """A quarter of the heartbeat timeout that Temporal shows."""
    if pending is None:
        return _UNKNOWN
    heartbeat_timeout = pending.activity_options.heartbeat_timeout.ToTimedelta()
    return heartbeat_timeout / 4 if heartbeat_timeout else _WITHOUT_HEARTBEAT


def _look_again(interval: timedelta, why: str) -> ApplicationError:
    return ApplicationError(
        why,
        type="CALLER_WAITING",
        next_retry_delay=max(interval, _SHORTEST),
        category=ApplicationErrorCategory.BENIGN,
    )
