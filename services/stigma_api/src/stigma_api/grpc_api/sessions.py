"""`AgentSessionService`."""

# ruff: noqa: ARG002 - the stubs prescribe the signatures
from __future__ import annotations

from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.agent.v1.agent_session_service_pb2 import (
    AGENT_SESSION_VIEW_FULL,
    DeleteAgentSessionRequest,
    DeleteAgentSessionResponse,
    GetAgentSessionRequest,
    ListAgentSessionsRequest,
    ListAgentSessionsResponse,
)
from stigma.agent.v1.agent_session_service_pb2_grpc import AgentSessionServiceServicer
from stigma_api.executions.sessions import Sessions
from stigma_api.grpc_api.interceptor import Context, caller


class AgentSessionServicer(AgentSessionServiceServicer):
    """Serves `AgentSessionService`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def get_session(self, request: GetAgentSessionRequest, context: Context) -> AgentSession:
        """Return a session."""
        full = request.view == AGENT_SESSION_VIEW_FULL
        return await self._sessions.get(caller(), request.id, owner=request.principal, full=full)

    async def list_sessions(
        self, request: ListAgentSessionsRequest, context: Context
    ) -> ListAgentSessionsResponse:
        """List sessions."""
        found, token = await self._sessions.page(
            caller(), size=request.page_size, token=request.page_token
        )
        return ListAgentSessionsResponse(sessions=found, next_page_token=token)

    async def delete_session(
        self, request: DeleteAgentSessionRequest, context: Context
    ) -> DeleteAgentSessionResponse:
        """End a session."""
        await self._sessions.delete(caller(), request.id, owner=request.principal)
        return DeleteAgentSessionResponse()

    GetAgentSession = get_session
    ListAgentSessions = list_sessions
    DeleteAgentSession = delete_session
