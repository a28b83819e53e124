"""The pages, and the streams that keep them up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stigma.contracts.executions import Execution
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    TIMELINE_STEP_CALLER_ENDED,
    TIMELINE_STEP_ENDED,
    TIMELINE_STEP_RESUMED,
    ExecutionTimeline,
)
from stigma_api import status
from stigma_api.capacity import Capacity
from stigma_api.console import actions, chart
from stigma_api.console.api import Api
from stigma_api.console.links import TemporalUi
from stigma_api.console.live import Fragments, Live
from stigma_api.console.rendering import Templates
from stigma_api.console.searches import PHASES, Search
from stigma_api.console.streams import KEEP_ALIVE_SECONDS, EventStream
from stigma_api.console.views import ExecutionView, view
from stigma_api.principals import Action
from stigma_api.status import CallError

_MAX_STREAMS = 100
_LIST_SECONDS = 2.0
# What has no event of its own (an attempt that failed, a worker that is not there) shows so late.
_REFRESH_SECONDS = 5.0
_SETTLING_SECONDS = 0.5
_SOON = timedelta(seconds=10)
# A caller whose workers are away goes on when they are back; nobody waits for that for ever.
_RESUMED_WITHIN = timedelta(minutes=10)
_WENT_ON = {TIMELINE_STEP_RESUMED, TIMELINE_STEP_CALLER_ENDED}


class Pages:
    """Answers the requests of those who were let in."""

    def __init__(self, api: Api, templates: Templates, ui: TemporalUi, live: Live) -> None:
        self._api = api
        self._templates = templates
        self._ui = ui
        self._live = live
        self._streams = Capacity(_MAX_STREAMS, "streams")

    async def home(self, _request: Request) -> Response:
        """Go to the executions."""
        return RedirectResponse("/executions", 303)

    async def executions(self, request: Request) -> Response:
        """List executions."""
        search, page = Search.of(request.query_params), request.query_params.get("page", "")
        values: dict[str, Any] = {"search": search, "phases": PHASES, "page": page}
        try:
            values |= await self._listed(search, page)
        except CallError as error:
            if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return self._page(request, "executions.html", 400, problem=error.message, **values)
        return self._page(request, "executions.html", problem="", **values)

    async def executions_stream(self, request: Request) -> Response:
        """Keep a list up to date."""
        search = Search.of(request.query_params)

        async def source() -> AsyncIterator[Fragments]:
            while True:
                listed = await self._listed(search, "")
                yield {"rows": self._templates.part("_rows.html", search=search, **listed)}
                await asyncio.sleep(_LIST_SECONDS)

        return self._stream(request, search, source)

    async def execution(self, request: Request) -> Response:
        """Show one execution."""
        execution_id = request.path_params["id"]
        shown, timeline = await self._shown(execution_id)
        fragments = self._fragments(shown, timeline)
        live = not _is_settled(shown, timeline)
        return self._page(
            request,
            "execution.html",
            execution=shown,
            fragments=fragments,
            live=live,
            actions=actions.offered(shown),
        )

    async def execution_stream(self, request: Request) -> Response:
        """Keep an execution's page up to date."""
        execution_id = request.path_params["id"]

        async def source() -> AsyncIterator[Fragments]:
            async for shown, timeline in self._following(execution_id):
                yield self._fragments(shown, timeline)

        return self._stream(request, execution_id, source)

    async def act(self, request: Request) -> Response:
        """Do something to an execution."""
        action = actions.ACTIONS.get(request.path_params["name"])
        if action is None:
            raise status.not_found("the action")
        await action.perform(request.path_params["id"])
        return RedirectResponse(f"/executions/{request.path_params['id']}", 303)

    async def agents(self, request: Request) -> Response:
        """List agents."""
        found, following = await self._api.agents(request.query_params.get("page", ""))
        return self._page(request, "definitions.html", kind="agent", found=found, next=following)

    async def workflows(self, request: Request) -> Response:
        """List workflows."""
        found, following = await self._api.workflows(request.query_params.get("page", ""))
        return self._page(request, "definitions.html", kind="workflow", found=found, next=following)

    async def stuck(self, request: Request) -> Response:
        """List the executions that do not get on."""
        reply = await self._api.stuck()
        found = [(one, chart.reason_name(one.reason)) for one in reply.executions]
        return self._page(request, "stuck.html", reply=reply, stuck=found)

    async def _listed(self, search: Search, page: str) -> dict[str, Any]:
        listed = await self._api.executions(search, page)
        return {
            "rows": [view(execution) for execution in listed.executions],
            "next": listed.next_page,
        }

    async def _shown(self, execution_id: str) -> tuple[ExecutionView, ExecutionTimeline]:
        execution: Execution
        execution, timeline = await asyncio.gather(
            self._api.execution(execution_id), self._api.timeline(execution_id)
        )
        return view(execution), timeline

    async def _following(
        self, execution_id: str
    ) -> AsyncIterator[tuple[ExecutionView, ExecutionTimeline]]:
        """Yield an execution now, and whenever something has happened, until it is settled."""
        news = asyncio.Event()
        watching = asyncio.create_task(self._watch(execution_id, news))
        try:
            while True:
                news.clear()
                shown, timeline = await self._shown(execution_id)
                yield shown, timeline
                if _is_settled(shown, timeline):
                    return
                soon = shown.end is not None and _since(shown.end) < _SOON
                wait = _SETTLING_SECONDS if soon else _REFRESH_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await news.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, execution_id: str, news: asyncio.Event) -> None:
        cursor = ""
        while True:
            try:
                async with aclosing(self._api.happenings(execution_id, cursor)) as happenings:
                    async for reached in happenings:
                        cursor = reached
                        news.set()
            except CallError:
                await asyncio.sleep(_REFRESH_SECONDS)
            else:
                return

    def _fragments(self, shown: ExecutionView, timeline: ExecutionTimeline) -> Fragments:
        values = {
            "execution": shown,
            "chart": chart.draw(timeline, datetime.now(UTC)),
            "links": self._links(shown),
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
        request.state.principal.require(Action.EXECUTIONS_READ)
        followed = (request.state.principal.name, topic)

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


def _is_settled(shown: ExecutionView, timeline: ExecutionTimeline) -> bool:
    """Whether the page will not change any more: it ended, and its caller went on."""
    if not shown.has_ended or shown.end is None:
        return False  # while it closes, it has ended in its own words and not in Temporal's
    if _since(shown.end) > _RESUMED_WITHIN:
        return True
    steps = {entry.step for entry in timeline.entries}
    nobody = shown.caller is None or timeline.caller_unavailable
    return TIMELINE_STEP_ENDED in steps and bool(nobody or steps & _WENT_ON)


def _since(time: datetime) -> timedelta:
    return datetime.now(UTC) - time
