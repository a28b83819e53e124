"""The pages, and the streams that keep them up to date."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stigma.contracts.executions import Kind
from stigma_api import errors
from stigma_api.access.concurrency import ConcurrencyLimit
from stigma_api.access.principals import Action, Principal
from stigma_api.console import actions, chart
from stigma_api.console.api import Api
from stigma_api.console.execution_refresh import Following, Look, rest
from stigma_api.console.links import TemporalUi
from stigma_api.console.rendering import Templates
from stigma_api.console.searches import PHASES, Search
from stigma_api.console.shared_streams import Fragments, Live
from stigma_api.console.streams import KEEP_ALIVE_SECONDS, EventStream
from stigma_api.console.views import ExecutionView, view
from stigma_api.errors import ApiError

_MAX_STREAMS = 100
_LIST_SECONDS = 2.0


class Pages:
    """Answers the requests of those who were let in."""

    def __init__(self, api: Api, templates: Templates, ui: TemporalUi, live: Live) -> None:
        self._api = api
        self._following = Following(api)
        self._templates = templates
        self._ui = ui
        self._live = live
        self._streams = ConcurrencyLimit(_MAX_STREAMS, "streams")

    async def home(self, _request: Request) -> Response:
        """Go to the executions."""
        return RedirectResponse("/executions", 303)

    async def executions(self, request: Request) -> Response:
        """List executions."""
        search, page = Search.of(request.query_params), request.query_params.get("page", "")
        values: dict[str, Any] = {"search": search, "phases": PHASES, "page": page}
        try:
            values |= await self._listed(request, search, page)
        except ApiError as error:
            if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return self._page(request, "executions.html", 400, problem=error.message, **values)
        return self._page(request, "executions.html", problem="", **values)

    async def executions_stream(self, request: Request) -> Response:
        """Keep a list up to date."""
        search = Search.of(request.query_params)

        async def source() -> AsyncIterator[Fragments]:
            while True:
                began = time.monotonic()
                listed = await self._listed(request, search, "")
                yield {"rows": self._templates.part("_rows.html", search=search, **listed)}
                await asyncio.sleep(rest(began, _LIST_SECONDS))

        return self._stream(request, search, source)

    async def execution(self, request: Request) -> Response:
        """Show one execution."""
        look = await self._following.look(_principal(request), request.path_params["id"])
        return self._page(
            request,
            "execution.html",
            execution=look.shown,
            fragments=self._fragments(look),
            live=not look.is_settled,
            actions=actions.offered(look.shown),
        )

    async def execution_stream(self, request: Request) -> Response:
        """Keep an execution's page up to date."""
        execution_id = request.path_params["id"]

        async def source() -> AsyncIterator[Fragments]:
            async with aclosing(self._following.looks(_principal(request), execution_id)) as looks:
                async for look in looks:
                    yield self._fragments(look)

        return self._stream(request, execution_id, source)

    async def act(self, request: Request) -> Response:
        """Do something to an execution."""
        action = actions.ACTIONS.get(request.path_params["name"])
        if action is None:
            raise errors.not_found("the action")
        await action.perform(request.path_params["id"])
        return RedirectResponse(f"/executions/{request.path_params['id']}", 303)

    async def agents(self, request: Request) -> Response:
        """List agents."""
        return await self._definitions(request, Kind.AGENT)

    async def workflows(self, request: Request) -> Response:
        """List workflows."""
        return await self._definitions(request, Kind.WORKFLOW)

    async def stuck(self, request: Request) -> Response:
        """List the executions that do not get on."""
        reply = await self._api.stuck(_principal(request))
        found = [(one, chart.reason_name(one.reason)) for one in reply.executions]
        return self._page(request, "stuck.html", reply=reply, stuck=found)

    async def _definitions(self, request: Request, kind: Kind) -> Response:
        page = request.query_params.get("page", "")
        found, following = await self._api.definitions(_principal(request), kind, page)
        return self._page(request, "definitions.html", kind=kind, found=found, next=following)

    async def _listed(self, request: Request, search: Search, page: str) -> dict[str, Any]:
        listed = await self._api.executions(_principal(request), search, page)
        return {
            "rows": [view(execution) for execution in listed.executions],
            "next": listed.next_page,
        }

    def _fragments(self, look: Look) -> Fragments:
        values = {
            "execution": look.shown,
            "chart": chart.draw(look.timeline, datetime.now(UTC)),
            "links": self._links(look.shown),
            "ui": self._ui,
        }
        names = ("summary", "timeline", "conversation", "outcome")
        return {name: self._templates.part(f"_{name}.html", **values) for name in names}

    def _links(self, shown: ExecutionView) -> dict[str, str]:
        caller, run = shown.caller, shown.run
        links = {"execution": self._ui.workflow(shown.id)}
        if caller is not None:
            links["caller"] = self._ui.workflow(caller.workflow_id, caller.run_id, caller.namespace)
        if run is not None:
            links["engine run"] = self._ui.workflow(run.workflow_id, run.run_id)
        return {name: link for name, link in links.items() if link}

    def _stream(
        self, request: Request, topic: object, source: Callable[[], AsyncIterator[Fragments]]
    ) -> Response:
        principal = _principal(request)
        principal.require(Action.EXECUTIONS_READ)
        followed = (principal.name, topic)

        async def updates() -> AsyncGenerator[Fragments, None]:
            following = self._live.follow(followed, source, quiet=KEEP_ALIVE_SECONDS)
            async with aclosing(following) as news:
                async for fragments in news:
                    yield fragments

        return EventStream(updates(), self._streams)

    def _page(self, request: Request, name: str, status_code: int = 200, **values: Any) -> Response:
        return self._templates.page(
            name,
            status_code,
            principal=request.state.principal,
            path=request.url.path,
            **values,
        )


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal
