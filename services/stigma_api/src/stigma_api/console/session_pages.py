"""The pages of sessions: a list, and one each with its turns and its conversation."""

from __future__ import annotations

import grpc
from starlette.requests import Request
from starlette.responses import Response

from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.contracts.executions import Kind
from stigma_api.access.audit import path
from stigma_api.access.principals import Principal
from stigma_api.console.api import Api
from stigma_api.console.execution_list import ExecutionList
from stigma_api.console.searches import Search
from stigma_api.console.signed_in_pages import SignedInPages, principal_of
from stigma_api.console.views import MAX_MESSAGES, conversation_messages
from stigma_api.errors import ApiError


class SessionPages:
    """Handles the requests of principals about sessions."""

    def __init__(self, api: Api, pages: SignedInPages, executions: ExecutionList) -> None:
        self._api = api
        self._pages = pages
        self._executions = executions

    async def sessions(self, request: Request) -> Response:
        """List sessions."""
        page = request.query_params.get("page", "")
        found, next_page = await self._api.sessions(principal_of(request), page)
        return await self._pages.page(request, "sessions.html", sessions=found, next=next_page)

    async def session(self, request: Request) -> Response:
        """Show one session: its turns, which are executions, and what was said."""
        principal = principal_of(request)
        session_id = request.query_params.get("id", "")
        owner = request.query_params.get("owner", "") or principal.name
        request.state.resource = path("principals", owner, "sessions", session_id)
        session, problem = await self._read(principal, session_id, owner)
        search = Search(kind=Kind.AGENT, session=session_id)
        turns = await self._executions.rows(principal, search)
        messages = conversation_messages(session.messages)
        return await self._pages.page(
            request,
            "session.html",
            session=session,
            problem=problem,
            turns=[each for each in turns if each.principal == owner],
            conversation=messages[-MAX_MESSAGES:],
            earlier_messages=max(0, len(messages) - MAX_MESSAGES),
            search=search,
        )

    async def _read(
        self, principal: Principal, session_id: str, owner: str
    ) -> tuple[AgentSession, str]:
        """Return a session, or as much as its id says while no worker answers, and why."""
        try:
            return await self._api.session(principal, session_id, owner), ""
        except ApiError as error:
            if error.code != grpc.StatusCode.UNAVAILABLE:
                raise
            return AgentSession(id=session_id, principal=owner), error.message
