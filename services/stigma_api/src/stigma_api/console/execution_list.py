"""The list of executions: its box, its chart, its rows, and the stream that updates it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stigma.contracts.executions import Execution
from stigma_api.access.principals import Action, Principal
from stigma_api.console.api import Api
from stigma_api.console.execution_refresh import backoff
from stigma_api.console.failure_reasons import FailureReasons
from stigma_api.console.live_pages import LivePages
from stigma_api.console.outcome_chart import OutcomeChart, edges, outcome_chart
from stigma_api.console.rendering import TemplateRenderer
from stigma_api.console.searches import PHASES, RANGE_NAMES, Search
from stigma_api.console.shared_streams import Fragments
from stigma_api.console.signed_in_pages import SignedInPages, principal_of
from stigma_api.console.views import ExecutionView, view
from stigma_api.errors import ApiError
from stigma_api.executions.lookup import EXAMINED

LIST_SECONDS = 2.0
"""Interval of a list's refreshes."""
_CHART_SECONDS = 30.0
# Characters of an id that is not found.
_MAX_SHOWN = 100
_NOT_FOUND = (
    "Nothing that you may see has the id {}: no execution, request, caller's workflow or session. "
    f"The newest {EXAMINED:,} executions of each kind were looked through for their callers, and "
    "for requests of others than you."
)


class ExecutionList:
    """Handles the requests of principals about many executions."""

    def __init__(
        self, api: Api, templates: TemplateRenderer, pages: SignedInPages, live: LivePages
    ) -> None:
        self._api = api
        self._templates = templates
        self._pages = pages
        self._live = live
        self._failures = FailureReasons(api)

    async def show(self, request: Request) -> Response:
        """List executions, or go to the one that the box names."""
        search, page = Search.from_query(request.query_params), request.query_params.get("page", "")
        if search.wanted_id:
            return await self._find(request, search)
        values: dict[str, Any] = {"page": page, "chart": None}
        try:
            values |= await self._listed(principal_of(request), search, page)
            if not page:
                values["chart"] = await self._chart(principal_of(request), search)
        except ApiError as error:
            if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return await self._page(request, search, 400, problem=error.message, **values)
        return await self._page(request, search, **values)

    async def stream(self, request: Request) -> Response:
        """Stream the updates of a list."""
        principal = principal_of(request)
        principal.require(Action.EXECUTIONS_READ)
        search = Search.from_query(request.query_params)

        async def source() -> AsyncIterator[Fragments]:
            chart, counted = "", 0.0
            while True:
                began = time.monotonic()
                listed = await self._listed(principal, search, "")
                if not counted or began - counted > _CHART_SECONDS:
                    values = {"chart": await self._chart(principal, search), "search": search}
                    chart, counted = self._templates.part("_outcomes.html", **values), began
                rows = self._templates.part("_rows.html", search=search, **listed)
                yield {"rows": rows, "outcomes": chart}
                await asyncio.sleep(backoff(began, LIST_SECONDS))

        return self._live.stream(request, search, source)

    async def rows(self, principal: Principal, search: Search) -> Sequence[ExecutionView]:
        """Return the first executions of a search."""
        listed = await self._listed(principal, search, "")
        found: Sequence[ExecutionView] = listed["rows"]
        return found

    async def _find(self, request: Request, search: Search) -> Response:
        """Go to the execution that an id names, or list those that it names."""
        wanted, principal = search.wanted_id, principal_of(request)
        found = await self._api.find(principal, wanted)
        if found.execution_id:
            return RedirectResponse(f"/executions/{quote(found.execution_id, safe='')}", 303)
        executions = {each.id: each for each in found.executions}
        in_session = await self._in_session(principal, wanted)
        if in_session and not executions:
            return RedirectResponse(f"/executions?{Search(session=wanted).query()}", 303)
        executions |= {each.id: each for each in in_session}
        if len(executions) == 1:
            return RedirectResponse(f"/executions/{next(iter(executions))}", 303)
        rows = await self._views(principal, list(executions.values()))
        values: dict[str, Any] = {"page": "found", "chart": None, "rows": rows, "older": ""}
        if not rows:
            values["problem"] = _NOT_FOUND.format(wanted[:_MAX_SHOWN])
        return await self._page(request, search, **values)

    async def _in_session(self, principal: Principal, wanted: str) -> Sequence[Execution]:
        try:
            return (await self._api.executions(principal, Search(session=wanted), "")).executions
        except ApiError as error:
            if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return []  # no session has such an id

    async def _page(
        self, request: Request, search: Search, status_code: int = 200, **values: Any
    ) -> Response:
        given = {"problem": "", "rows": [], "older": ""} | values
        return await self._pages.page(
            request,
            "executions.html",
            status_code,
            search=search,
            phases=PHASES,
            ranges=RANGE_NAMES,
            **given,
        )

    async def _chart(self, principal: Principal, search: Search) -> OutcomeChart | None:
        """Return the chart of a search; None while Temporal does not count."""
        times = edges(search)
        try:
            counts = await self._api.outcomes(principal, search, times)
        except ApiError as error:
            if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return None
        return outcome_chart(search, times, counts)

    async def _listed(self, principal: Principal, search: Search, page: str) -> dict[str, Any]:
        fixed = search.fixed
        listed = await self._api.executions(principal, fixed, page)
        rows = await self._views(principal, listed.executions)
        return {
            "rows": rows,
            "older": fixed.query(page=listed.next_page) if listed.next_page else "",
        }

    async def _views(
        self, principal: Principal, executions: Sequence[Execution]
    ) -> Sequence[ExecutionView]:
        await self._failures.add(principal, executions)
        return [view(each) for each in executions]
