"""Sessions, shown and deleted for principals."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.contracts import ids, search_attributes
from stigma.contracts.workflows import SESSION_MEMO, SessionWorkflow, UpdateRefusal
from stigma.runtime.pending_activities import OPEN
from stigma_api import errors
from stigma_api.access.principals import Action, Principal
from stigma_api.executions.listing import Listing
from stigma_api.requests.validation import check_session_id
from stigma_api.temporal.calls import describe, temporal_call
from stigma_api.temporal.payloads import message
from stigma_api.temporal.visibility import quoted

_TIMEOUT = timedelta(seconds=10)
_WORKFLOW_TYPE = "SessionWorkflow"


class Sessions:
    """The sessions of principals."""

    def __init__(self, client: Client, listing: Listing[AgentExecution], task_queue: str) -> None:
        self._client = client
        self._listing = listing
        self._task_queue = task_queue

    async def get(
        self, principal: Principal, session_id: str, *, owner: str = "", full: bool = False
    ) -> AgentSession:
        """Return a session.

        Args:
            principal: who asks.
            session_id: of the session.
            owner: whose session; empty: the principal's own.
            full: with the conversation.

        Raises:
            ApiError: NOT_FOUND, also for another principal's; UNAVAILABLE.
        """
        principal.require(Action.EXECUTIONS_READ)
        handle = await self._find(principal, session_id, owner)
        try:
            async with temporal_call():
                return await handle.query(SessionWorkflow.session, full)
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError, RPCError) as error:
            raise errors.unavailable("no orchestrator answers for the session") from error

    async def page(
        self, principal: Principal, *, size: int, token: str
    ) -> tuple[list[AgentSession], str]:
        """Return a page of sessions, and the next page's token."""
        principal.require(Action.EXECUTIONS_READ)
        conditions = [
            f"WorkflowType = {quoted(_WORKFLOW_TYPE)}",
            f"TaskQueue = {quoted(self._task_queue)}",
            "ExecutionStatus = 'Running'",
        ]
        if not principal.is_admin:
            conditions.append(f"{search_attributes.PRINCIPAL.name} = {quoted(principal.name)}")
        infos, after = await self._listing.infos(" AND ".join(conditions), size, token)
        found = []
        for info in infos:
            payload = info.memo.fields.get(SESSION_MEMO)
            found.append(await message(self._client, [payload] if payload else [], AgentSession))
        return found, after

    async def delete(self, principal: Principal, session_id: str, *, owner: str = "") -> None:
        """End a session that no execution uses.

        Raises:
            ApiError: NOT_FOUND; FAILED_PRECONDITION, executions of it run or wait; UNAVAILABLE.
        """
        principal.require(Action.EXECUTIONS_CANCEL)
        handle = await self._find(principal, session_id, owner)
        try:
            async with temporal_call(_TIMEOUT):
                await handle.execute_update(SessionWorkflow.delete_session, rpc_timeout=_TIMEOUT)
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == UpdateRefusal.SESSION_BUSY:
                raise errors.failed_precondition(cause.type, cause.message) from error
            raise errors.unavailable("the session is just ending: try again") from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise errors.unavailable("no orchestrator answers for the session") from error
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            raise _not_found(session_id) from error

    async def _find(
        self, principal: Principal, session_id: str, owner: str
    ) -> WorkflowHandle[SessionWorkflow, None]:
        check_session_id(session_id)
        owner = owner or principal.name
        if not principal.may_see(owner):
            raise _not_found(session_id)
        workflow_id = ids.session_workflow_id(owner, self._client.namespace, session_id)
        found = await describe(self._client, workflow_id)
        if found is None or found.workflow_execution_info.status not in OPEN:
            raise _not_found(session_id)
        return self._client.get_workflow_handle_for(SessionWorkflow.run, workflow_id)


def _not_found(session_id: str) -> errors.ApiError:
    return errors.not_found(f"session {session_id}")
