"""The pages, and the streams that update them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stigma.contracts.diagnosis import stuck_reason_name
from stigma_api.access.principals import Action
from stigma_api.console import chart
from stigma_api.console.api import Api
from stigma_api.console.execution_refresh import ExecutionRefresher, Snapshot
from stigma_api.console.inbox import InboxPages
from stigma_api.console.live_pages import LivePages
from stigma_api.console.rendering import TemplateRenderer, TemporalUi
from stigma_api.console.shared_streams import Fragments
from stigma_api.console.signed_in_pages import SignedInPages, principal_of
from stigma_api.console.views import ExecutionView


class Pages:
    """Handles the requests of principals."""

    def __init__(
        self,
        api: Api,
        templates: TemplateRenderer,
        ui: TemporalUi,
        *,
        pages: SignedInPages,
        live: LivePages,
        inbox: InboxPages,
    ) -> None:
        self._api = api
        self._refresher = ExecutionRefresher(api)
        self._templates = templates
        self._ui = ui
        self._pages = pages
        self._live = live
        self._inbox = inbox

    async def home(self, request: Request) -> Response:
        """Redirect to the executions, or to the inbox of who may do no more than answer."""
        principal = principal_of(request)
        only_answers = principal.may(Action.EXECUTIONS_APPROVE) and not principal.may(
            Action.EXECUTIONS_READ
        )
        return RedirectResponse("/inbox" if only_answers else "/executions", 303)

    async def execution(self, request: Request) -> Response:
        """Show one execution."""
        snapshot = await self._refresher.snapshot(principal_of(request), request.path_params["id"])
        return await self._pages.page(
            request,
            "execution.html",
            execution=snapshot.shown,
            fragments=await self._fragments(request, snapshot),
            live=not snapshot.is_final,
        )

    async def execution_stream(self, request: Request) -> Response:
        """Stream the updates of an execution's page."""
        execution_id = request.path_params["id"]

        async def source() -> AsyncIterator[Fragments]:
            snapshots = self._refresher.snapshots(principal_of(request), execution_id)
            fragments: Fragments = {}
            shown: ExecutionView | None = None
            async with aclosing(snapshots):
                async for snapshot in snapshots:
                    if snapshot.shown is shown:  # only the model has written
                        fragments = {**fragments, "writing": self._writing(snapshot)}
                    else:
                        fragments, shown = await self._fragments(request, snapshot), snapshot.shown
                    yield fragments

        principal_of(request).require(Action.EXECUTIONS_READ)
        return self._live.stream(request, execution_id, source)

    async def stuck(self, request: Request) -> Response:
        """List the executions that make no progress."""
        reply = await self._api.stuck(principal_of(request))
        found = [(one, stuck_reason_name(one.reason)) for one in reply.executions]
        return await self._pages.page(request, "stuck.html", reply=reply, stuck=found)

    async def _fragments(self, request: Request, snapshot: Snapshot) -> Fragments:
        shown = snapshot.shown
        inputs = await self._inbox.views_of(principal_of(request), shown.id, shown.pending_inputs)
        values = {
            "principal": principal_of(request),
            "inputs": inputs,
            "next": f"/executions/{shown.id}",
            "execution": snapshot.shown,
            "chart": chart.layout(snapshot.timeline, datetime.now(UTC)),
            "links": self._links(snapshot.shown),
            "ui": self._ui,
        }
        names = ("summary", "inputs", "pending", "timeline", "conversation", "outcome")
        fragments = {name: self._templates.part(f"_{name}.html", **values) for name in names}
        return fragments | {"writing": self._writing(snapshot)}

    def _writing(self, snapshot: Snapshot) -> str:
        return self._templates.part("_writing.html", writing=snapshot.writing)

    def _links(self, shown: ExecutionView) -> dict[str, str]:
        caller, run = shown.caller, shown.run
        links = {"execution": self._ui.workflow(shown.id)}
        if caller is not None:
            links["caller"] = self._ui.workflow(caller.workflow_id, caller.run_id, caller.namespace)
        if run is not None:
            links["engine run"] = self._ui.workflow(run.workflow_id, run.run_id)
        return {name: link for name, link in links.items() if link}
