"""The step before the launch of an execution in a session: its turn is asked for there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.contracts import ids, payloads, search_attributes
from stigma.contracts.workflows import SESSION_MEMO, SessionWorkflow, UpdateRefusal
from stigma.internal.v1.session_pb2 import RequestTurn, SessionWorkflowInput
from stigma_api import errors
from stigma_api.temporal.calls import temporal_call

_TIMEOUT = timedelta(seconds=10)
_RETRY_AFTER = timedelta(seconds=1)
# The run of a session that continues as new, or ends, takes no update: the next one does.
_BETWEEN_RUNS = frozenset(
    {
        RPCStatusCode.ABORTED,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.UNAVAILABLE,
    }
)
_ATTEMPTS = 8
# Updates of one session at a time, by one process.
_AT_ONCE = 4
_RETRY_DELAY = timedelta(milliseconds=50)
_ENDING = "the session is just ending: send the same request again"
_NO_ANSWER = "no orchestrator answered for the session in time: send the same request again"


class SessionTurns:
    """Asks sessions for turns; makes the session with its first one."""

    def __init__(self, client: Client, task_queue: str, idle_timeout: timedelta) -> None:
        self._client = client
        self._task_queue = task_queue
        self._idle_timeout = idle_timeout
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def request(self, execution_id: str, spec: AgentExecutionSpec) -> int:
        """Ask for the turn of an execution that is not started yet; return its number.

        Raises:
            ApiError: ABORTED, others run or wait, and the policy is REJECT; RESOURCE_EXHAUSTED, too
                many wait; UNAVAILABLE: the same request, sent again, has its turn once.
        """
        request = RequestTurn(execution_id=execution_id, policy=spec.session_policy)
        request.idle_timeout.FromTimedelta(self._idle_timeout)
        try:
            async with temporal_call(_TIMEOUT):
                # Temporal refuses a workflow's eleventh update at a time: some wait here, in order.
                gate = self._gates.setdefault(self._workflow_id(spec), asyncio.Semaphore(_AT_ONCE))
                async with gate:
                    return await self._until_answered(request, spec)
        except WorkflowUpdateFailedError as error:
            raise _refusal(error.cause) or errors.unavailable(_ENDING) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise errors.unavailable(_NO_ANSWER) from error
        except RPCError as error:
            if error.status not in _BETWEEN_RUNS:
                raise
            raise errors.unavailable(_ENDING) from error

    async def _until_answered(self, request: RequestTurn, spec: AgentExecutionSpec) -> int:
        for attempt in count(1):
            try:
                return await self._update(request, spec)
            except RPCError as error:
                if error.status not in _BETWEEN_RUNS or attempt == _ATTEMPTS:
                    raise
            except WorkflowUpdateFailedError as error:
                if _refusal(error.cause) is not None or attempt == _ATTEMPTS:
                    raise
            await asyncio.sleep(attempt * _RETRY_DELAY.total_seconds())
        raise AssertionError("the last attempt returns or raises")

    async def _update(self, request: RequestTurn, spec: AgentExecutionSpec) -> int:
        start = self._start(spec)
        try:
            accepted = await self._client.execute_update_with_start_workflow(
                SessionWorkflow.request_turn,
                request,
                start_workflow_operation=start,
                id=f"turn-{request.execution_id}",
                rpc_timeout=_TIMEOUT,
            )
        except BaseException:
            await _look_at_error(start)
            raise
        return int(accepted.number)

    def _workflow_id(self, spec: AgentExecutionSpec) -> str:
        return ids.session_workflow_id(spec.principal, self._client.namespace, spec.session_id)

    def _start(self, spec: AgentExecutionSpec) -> WithStartWorkflowOperation[SessionWorkflow, Any]:
        principal, session_id = spec.principal, spec.session_id
        brief = AgentSession(id=session_id, principal=principal)
        brief.create_time.GetCurrentTime()
        return WithStartWorkflowOperation(
            SessionWorkflow.run,
            SessionWorkflowInput(session_id=session_id, principal=principal),
            id=self._workflow_id(spec),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            memo={SESSION_MEMO: payloads.to_binary_payload(brief)},
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(search_attributes.PRINCIPAL, principal),
                    SearchAttributePair(search_attributes.SESSION, session_id),
                ]
            ),
        )


async def _look_at_error(start: WithStartWorkflowOperation[SessionWorkflow, Any]) -> None:
    """Take the error of a start, which the SDK keeps beside that of its update."""
    handle = asyncio.ensure_future(start.workflow_handle())
    await asyncio.wait({handle}, timeout=_RETRY_DELAY.total_seconds())
    if not handle.cancel() and not handle.cancelled():
        handle.exception()


def _refusal(cause: BaseException | None) -> errors.ApiError | None:
    """Return a session's refusal; None for one that has just ended: another begins."""
    kind = cause.type if isinstance(cause, ApplicationError) else None
    message = cause.message if isinstance(cause, ApplicationError) else ""
    match kind:
        case UpdateRefusal.SESSION_BUSY:
            info = ErrorInfo(reason=UpdateRefusal.SESSION_BUSY, domain=errors.ERROR_DOMAIN)
            return errors.ApiError(grpc.StatusCode.ABORTED, message, info)
        case UpdateRefusal.TOO_MANY_TURNS:
            return errors.resource_exhausted(message, _RETRY_AFTER)
    return None
